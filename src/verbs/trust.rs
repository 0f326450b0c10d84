//! `iso trust` and `iso untrust`: the one way in which a trust store of this machine is ever touched, and the way back.
//!
//! What is done is said first, as commands that do the same; `--print` says it and does nothing. Whoever may not is told
//! which commands to run.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use serde_json::json;

use crate::{
    args::{Cli, TrustArgs},
    state::WorldDir,
    talk::{VerbError, tell},
    verbs::print,
};

/// Stands in for `/`, so that tests need not touch the machine.
const ROOT_VARIABLE: &str = "ISO_TRUST_ROOT";

/// How a system keeps the certificates that all programs trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    /// A directory, and a program that reads it.
    Directory {
        path: &'static str,
        suffix: &'static str,
        update: &'static [&'static str],
        fresh: &'static [&'static str],
    },
    /// A program that takes the file itself.
    Program { add: &'static [&'static str], remove: &'static [&'static str] },
}

/// In this order, since Arch has p11-kit's program as Fedora has.
const STORES: [Store; 4] = [
    // Debian, Ubuntu
    Store::Directory {
        path: "usr/local/share/ca-certificates",
        suffix: "crt",
        update: &["usr/sbin/update-ca-certificates"],
        fresh: &["usr/sbin/update-ca-certificates", "--fresh"],
    },
    // Fedora, RHEL
    Store::Directory {
        path: "etc/pki/ca-trust/source/anchors",
        suffix: "pem",
        update: &["usr/bin/update-ca-trust", "extract"],
        fresh: &["usr/bin/update-ca-trust", "extract"],
    },
    // macOS
    Store::Program {
        add: &[
            "usr/bin/security",
            "add-trusted-cert",
            "-d",
            "-r",
            "trustRoot",
            "-k",
            "/Library/Keychains/System.keychain",
        ],
        remove: &["usr/bin/security", "remove-trusted-cert", "-d"],
    },
    // Arch
    Store::Program { add: &["usr/bin/trust", "anchor", "--store"], remove: &["usr/bin/trust", "anchor", "--remove"] },
];

/// One thing to do; its text is a command that does it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Copy { from: PathBuf, to: PathBuf },
    Remove(PathBuf),
    Run(Vec<String>),
}

impl Store {
    /// Which one the system below `root` has.
    fn found(root: &Path) -> Option<Self> {
        STORES.into_iter().find(|store| match store {
            Self::Directory { update, .. } => root.join(update[0]).exists(),
            Self::Program { add, .. } => root.join(add[0]).exists(),
        })
    }

    /// What makes it trust `certificate`, and what takes that back.
    fn steps(self, root: &Path, certificate: &Path, world: &str, wants_trust: bool) -> Vec<Step> {
        let command = |words: &[&str], more: Option<&Path>| {
            let program = words.first().map(|program| root.join(program).display().to_string());
            let rest = words.iter().skip(1).map(|&word| word.to_owned());
            Step::Run(program.into_iter().chain(rest).chain(more.map(|path| path.display().to_string())).collect())
        };
        match self {
            Self::Directory { path, suffix, update, fresh } => {
                let to = root.join(path).join(format!("isochrone-{world}.{suffix}"));
                if wants_trust {
                    vec![Step::Copy { from: certificate.to_owned(), to }, command(update, None)]
                } else {
                    vec![Step::Remove(to), command(fresh, None)]
                }
            }
            Self::Program { add, remove } => {
                vec![command(if wants_trust { add } else { remove }, Some(certificate))]
            }
        }
    }
}

impl Step {
    fn take(&self) -> io::Result<()> {
        match self {
            Self::Copy { from, to } => {
                if let Some(parent) = to.parent() {
                    fs::create_dir_all(parent)?;
                }
                fs::copy(from, to).map(drop)
            }
            Self::Remove(path) => match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            },
            Self::Run(words) => {
                let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
                let output = Command::new(program).args(arguments).output()?;
                if output.status.success() {
                    return Ok(());
                }
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(io::Error::other(format!("{}: {said}", output.status)))
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy { from, to } => write!(f, "sudo install -D -m 644 {} {}", quoted(from), quoted(to)),
            Self::Remove(path) => write!(f, "sudo rm -f {}", quoted(path)),
            Self::Run(words) => {
                f.write_str("sudo")?;
                words.iter().try_for_each(|word| write!(f, " {}", quoted(Path::new(word))))
            }
        }
    }
}

/// As a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

pub(super) fn trust(cli: &Cli, args: &TrustArgs) -> Result<(), VerbError> {
    run(cli, args, true)
}

pub(super) fn untrust(cli: &Cli, args: &TrustArgs) -> Result<(), VerbError> {
    run(cli, args, false)
}

fn run(cli: &Cli, args: &TrustArgs, wants_trust: bool) -> Result<(), VerbError> {
    let world = WorldDir::new(&cli.world).map_err(|error| VerbError::Usage(format!("{error:#}")))?;
    let certificate = world.authority().certificate();
    if wants_trust && !certificate.exists() {
        return Err(VerbError::Failed(anyhow::anyhow!(
            "world {:?} has no authority yet: the first `iso up` makes it",
            world.name()
        )));
    }
    let root = std::env::var_os(ROOT_VARIABLE).map_or_else(|| PathBuf::from("/"), PathBuf::from);
    let store = Store::found(&root).with_context(|| {
        let path = certificate.display();
        format!("no trust store is known here (Debian's, Fedora's, Arch's or macOS's); the certificate is {path}")
    })?;
    let steps = store.steps(&root, &certificate, world.name(), wants_trust);
    let commands: Vec<String> = steps.iter().map(ToString::to_string).collect();
    if !args.print {
        for (step, command) in steps.iter().zip(&commands) {
            if !cli.json {
                tell(command);
            }
            step.take().map_err(|error| {
                let may_not = error.kind() == io::ErrorKind::PermissionDenied;
                let why = if may_not { "it takes privileges".to_owned() } else { error.to_string() };
                let all = commands.join("\n  ");
                VerbError::Failed(anyhow::anyhow!("{why}; these commands do all of it:\n  {all}"))
            })?;
        }
    }
    let document = json!({ "world": world.name(), "trusted": wants_trust, "done": !args.print, "commands": commands });
    print(cli, &document, |_| match (args.print, wants_trust) {
        (true, _) => commands.join("\n"),
        (false, true) => format!(
            "programs that trust what this machine trusts now trust world {:?}, for names below .test and addresses of \
             this machine; `iso untrust` takes it back (browsers with a store of their own do not look here)",
            world.name()
        ),
        (false, false) => format!("nobody trusts world {:?} any more, but for `iso curl` and `iso in`", world.name()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_has_its_commands_and_the_way_back() {
        for (program, trust, untrust) in [
            (
                "usr/sbin/update-ca-certificates",
                "sudo install -D -m 644 /w/ca.pem R/usr/local/share/ca-certificates/isochrone-w.crt; \
                 sudo R/usr/sbin/update-ca-certificates",
                "sudo rm -f R/usr/local/share/ca-certificates/isochrone-w.crt; \
                 sudo R/usr/sbin/update-ca-certificates --fresh",
            ),
            (
                "usr/bin/update-ca-trust",
                "sudo install -D -m 644 /w/ca.pem R/etc/pki/ca-trust/source/anchors/isochrone-w.pem; \
                 sudo R/usr/bin/update-ca-trust extract",
                "sudo rm -f R/etc/pki/ca-trust/source/anchors/isochrone-w.pem; sudo R/usr/bin/update-ca-trust extract",
            ),
            (
                "usr/bin/security",
                "sudo R/usr/bin/security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain /w/ca.pem",
                "sudo R/usr/bin/security remove-trusted-cert -d /w/ca.pem",
            ),
            (
                "usr/bin/trust",
                "sudo R/usr/bin/trust anchor --store /w/ca.pem",
                "sudo R/usr/bin/trust anchor --remove /w/ca.pem",
            ),
        ] {
            let base = tempfile::tempdir().unwrap();
            assert_eq!(Store::found(base.path()), None);
            fs::create_dir_all(base.path().join(program).parent().unwrap()).unwrap();
            fs::write(base.path().join(program), "").unwrap();
            let store = Store::found(base.path()).unwrap();
            for (wants_trust, expected) in [(true, trust), (false, untrust)] {
                let steps = store.steps(Path::new("R"), Path::new("/w/ca.pem"), "w", wants_trust);
                let shown: Vec<String> = steps.iter().map(ToString::to_string).collect();
                assert_eq!(shown.join("; "), expected);
            }
        }
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
