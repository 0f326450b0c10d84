//! Verbs that stand somewhere: curl, dig, proxy, and any command.

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::{
    args::{Cli, CurlArgs, DigArgs, InArgs},
    authority::AuthorityDir,
    state::WorldDir,
    talk::{Api, VerbError, error_document, tell},
    up::{ViewerNode, wait_viewer},
    verbs::{api, print, say},
};

/// The proxy user for a place: the place, and options after `+`.
fn proxy_user(place: &str, resolver: Option<&str>, no_ecs: bool, more: &[String]) -> String {
    let mut user = place.to_owned();
    if let Some(resolver) = resolver {
        user.push_str(&format!("+resolver={resolver}"));
    }
    if no_ecs {
        user.push_str("+no-ecs");
    }
    for option in more {
        user.push('+');
        user.push_str(option);
    }
    user
}

/// Says early, and with the nearest names, that there is no such place.
pub(super) fn check_places(places: &[&str]) -> Result<(), VerbError> {
    let atlas = world::Atlas::embedded();
    for place in places {
        atlas.place(place).map_err(|unknown| VerbError::Usage(unknown.to_string()))?;
    }
    Ok(())
}

pub(super) async fn curl(cli: &Cli, args: &CurlArgs) -> Result<(), VerbError> {
    check_places(&[&[args.from.as_str()][..], &args.resolver.as_deref().into_iter().collect::<Vec<_>>()].concat())?;
    let api = api(cli)?;
    let ViewerNode { proxy, .. } = wait_viewer(&api).await?;
    let id = format!("{:016x}", rand::random::<u64>());
    let mut options = vec![format!("ledger={id}")];
    if args.warm {
        options.push("warm".to_owned());
    }
    if args.ledger || cli.json {
        options.push("look-inside".to_owned());
    }
    // Between curl and the proxy it could not be spoken, whatever this curl can.
    let (of_http3, arguments): (Vec<_>, Vec<_>) =
        args.args.iter().partition(|argument| ["--http3", "--http3-only"].contains(&argument.as_str()));
    if args.http3 || !of_http3.is_empty() {
        options.push("http3".to_owned());
    }
    let user = proxy_user(&args.from, args.resolver.as_deref(), args.no_ecs, &options);
    let mut command = Command::new("curl");
    command
        // The place is ours to say, whatever the environment or a curlrc says of proxies.
        .args(["--proxy", &format!("http://{proxy}"), "--proxy-user", &format!("{user}:"), "--noproxy", ""])
        .args(arguments);
    // For this call only. What the user names himself comes later and wins.
    if let Some(certificate) = authority_of(cli) {
        command.env("CURL_CA_BUNDLE", certificate);
    }
    let status = command
        .status()
        .map_err(|error| VerbError::Failed(anyhow::Error::new(error).context("cannot run curl; is it installed?")))?;
    if args.ledger || cli.json || !status.success() {
        const NONE: &str = "no request came to the proxy, so there is no ledger";
        match ledger_of(&api, &id).await {
            Some(ledger) if cli.json => say(&serde_json::to_string_pretty(&ledger)?)?,
            Some(ledger) if args.ledger => say(ledger["text"].as_str().unwrap_or_default().trim_end())?,
            // What a proxy says instead of opening a tunnel, curl keeps to itself.
            Some(ledger) => match (ledger["reason"].as_str(), ledger["error"].as_str()) {
                (Some(reason), Some(error)) if !reason.is_empty() => tell(&format!("{error} ({reason})")),
                _ => {}
            },
            None if cli.json => say(&error_document(NONE))?,
            None if args.ledger => tell(NONE),
            None => {}
        }
    }
    exit_like(status)
}

/// The ledger of the last request that carried `id`. curl has seen the last byte, or has left, a moment before the proxy
/// has written it.
async fn ledger_of(api: &Api, id: &str) -> Option<Value> {
    const LOOKS: u32 = 50;
    for _ in 0..LOOKS {
        if let Ok(ledger) = api.read(&format!("/v1/ledger/{id}"), &()).await {
            return Some(ledger);
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    None
}

pub(super) async fn dig(cli: &Cli, args: &DigArgs) -> Result<(), VerbError> {
    check_places(&[&[args.from.as_str()][..], &args.resolver.as_deref().into_iter().collect::<Vec<_>>()].concat())?;
    let mut query = vec![
        ("from", args.from.clone()),
        ("name", args.name.clone()),
        ("type", args.record_type.clone()),
        ("ecs", (!args.no_ecs).to_string()),
    ];
    query.extend(args.resolver.iter().map(|place| ("resolver", place.clone())));
    let api = api(cli)?;
    wait_viewer(&api).await?;
    let answer: Value = api.read("/v1/dig", &query).await?;
    print(cli, &answer, |answer| match args.short {
        true => {
            let data = |record: &Value| record["data"].as_str().map(str::to_owned);
            let lines: Vec<String> = answer["answers"].as_array().into_iter().flatten().filter_map(data).collect();
            lines.join("\n")
        }
        false => match answer["text"].as_str() {
            Some(text) => text.to_owned(),
            None => answer.to_string(),
        },
    })
}

pub(super) async fn proxy(cli: &Cli) -> Result<(), VerbError> {
    let ViewerNode { proxy, .. } = wait_viewer(&api(cli)?).await?;
    print(cli, &json!({ "proxy": proxy }), |_| format!("http://{proxy}"))
}

pub(super) async fn inside(cli: &Cli, args: &InArgs) -> Result<(), VerbError> {
    check_places(&[&args.place])?;
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(VerbError::Usage("which command?".into()));
    };
    let ViewerNode { proxy, .. } = wait_viewer(&api(cli)?).await?;
    let user: String = args.place.bytes().map(percent_encoded).collect();
    let url = format!("http://{user}@{proxy}");
    let mut command = Command::new(program);
    command.args(arguments);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, &url);
    }
    for name in ["no_proxy", "NO_PROXY"] {
        command.env_remove(name);
    }
    command.env("ISO_PLACE", &args.place);
    // Nothing but this world is reached through the proxy, so nothing but its authority need be trusted.
    if let Some(certificate) = authority_of(cli) {
        for name in AUTHORITY_VARIABLES {
            command.env(name, &certificate);
        }
    }
    let status = command
        .status()
        .map_err(|error| VerbError::Failed(anyhow::Error::new(error).context(format!("cannot run {program}"))))?;
    exit_like(status)
}

/// By which curl, OpenSSL, Node.js, Python's requests, git and Deno learn whom to trust.
const AUTHORITY_VARIABLES: [&str; 6] =
    ["CURL_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO", "DENO_CERT"];

/// The certificate of the world's authority, where there is one.
fn authority_of(cli: &Cli) -> Option<PathBuf> {
    authority_dir(cli).map(|dir| dir.certificate())
}

/// What the world's authority keeps, where there is one.
pub(super) fn authority_dir(cli: &Cli) -> Option<AuthorityDir> {
    let dir = WorldDir::new(&cli.world).ok()?.authority();
    dir.certificate().exists().then_some(dir)
}

/// A byte of a user name inside a URL (RFC 3986 section 3.2.1).
fn percent_encoded(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}

pub(super) fn exit_like(status: std::process::ExitStatus) -> Result<(), VerbError> {
    if status.success() {
        return Ok(());
    }
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    let code = status.code().or_else(|| signal.map(|signal| 128 + signal)).unwrap_or(1);
    Err(VerbError::Exit(u8::try_from(code).unwrap_or(1)))
}
