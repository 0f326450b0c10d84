//! What comes from the command line's own description: completions and manual pages.

use std::{fs, path::Path};

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};
use serde_json::json;

use crate::{
    args::{Cli, ManArgs},
    diagnose::nearest_or_all,
    talk::VerbError,
    verbs::{print, write_out},
};

/// User commands.
const SECTION: &str = "1";

/// Prints completions for a shell.
pub(super) fn completions(cli: &Cli, shell: clap_complete::Shell) -> Result<(), VerbError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "iso", &mut script);
    if cli.json {
        let document = json!({ "shell": shell.to_string(), "script": String::from_utf8_lossy(&script) });
        return print(cli, &document, |_| String::new());
    }
    write_out(&script)
}

/// Prints the manual page of a verb, or writes all of them.
pub(super) fn manual(cli: &Cli, args: &ManArgs) -> Result<(), VerbError> {
    let iso = described();
    if let Some(out) = &args.out {
        return write_pages(cli, &iso, out);
    }
    let mut command = &iso;
    for word in &args.verb {
        command = command.find_subcommand(word).ok_or_else(|| no_such_verb(command, word))?;
    }
    let roff = page(command)?;
    if cli.json {
        let document = json!({ "name": name(command), "section": SECTION, "roff": roff });
        return print(cli, &document, |_| String::new());
    }
    write_out(roff.as_bytes())
}

/// The whole command line. `help` needs no page.
fn described() -> Command {
    fn without_help(command: Command) -> Command {
        command.disable_help_subcommand(true).mut_subcommands(without_help)
    }
    let mut iso = without_help(Cli::command());
    iso.build();
    iso
}

fn no_such_verb(command: &Command, word: &str) -> VerbError {
    let verbs = verbs(command).map(Command::get_name);
    let hint = nearest_or_all(word, verbs).map_or_else(String::new, |hint| format!("; {hint}"));
    VerbError::Usage(format!("`{}` has no verb {word:?}{hint}", name(command).replace('-', " ")))
}

fn write_pages(cli: &Cli, iso: &Command, out: &Path) -> Result<(), VerbError> {
    let mut written = vec![];
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut left = vec![iso];
    while let Some(command) = left.pop() {
        let file = out.join(format!("{}.{SECTION}", name(command)));
        fs::write(&file, page(command)?).with_context(|| format!("cannot write {}", file.display()))?;
        written.push(file);
        left.extend(verbs(command));
    }
    written.sort();
    print(cli, &json!({ "written": written }), |_| format!("wrote {} pages to {}", written.len(), out.display()))
}

/// Those that people type.
fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set())
}

/// `iso-chaos-run`, as its page is called.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// A page, with what stands below the help laid out as pages of the manual have it.
fn page(command: &Command) -> anyhow::Result<String> {
    let mut page = Vec::new();
    // What clap has no word for, its manual calls extra, and fills as one paragraph.
    Man::new(command.clone().after_help(None::<&'static str>))
        .source(concat!("iso ", env!("CARGO_PKG_VERSION")))
        .manual("Isochrone")
        .render(&mut page)?;
    let mut roff = Roff::new();
    if let Some(text) = command.get_after_help() {
        explain(&text.to_string(), &mut roff);
    }
    see_also(command, &mut roff);
    roff.to_writer(&mut page)?;
    Ok(String::from_utf8(page)?)
}

/// Examples line by line, exit codes in their own section, other paragraphs filled.
fn explain(text: &str, roff: &mut Roff) {
    for paragraph in text.split("\n\n") {
        let mut lines = paragraph.lines().peekable();
        if lines.next_if(|line| *line == "Examples:").is_some() {
            roff.control("SH", ["EXAMPLES"]);
        } else if let Some(codes) = paragraph.strip_prefix("Exit codes") {
            roff.control("SH", ["EXIT STATUS"]);
            roff.text([roman(codes.trim_start_matches(':').trim_start().replace('\n', " "))]);
            continue;
        } else {
            roff.control("PP", []);
        }
        let mut is_typed = false;
        for line in lines {
            let indented = line.starts_with("  ");
            if indented != is_typed {
                let requests = if indented { ["RS", "nf"] } else { ["fi", "RE"] };
                requests.into_iter().for_each(|request| _ = roff.control(request, []));
                is_typed = indented;
            }
            roff.text([roman(line.trim_start())]);
        }
        if is_typed {
            roff.control("fi", []).control("RE", []);
        }
    }
}

/// The pages above this one.
fn see_also(command: &Command, roff: &mut Roff) {
    let mut above: Vec<&str> = name(command).match_indices('-').map(|(at, _)| &name(command)[..at]).collect();
    let Some(last) = above.pop() else { return };
    roff.control("SH", ["SEE ALSO"]);
    for name in above {
        roff.text([bold(name), roman(format!("({SECTION}),"))]);
    }
    roff.text([bold(last), roman(format!("({SECTION})"))]);
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// All that can be typed.
    fn all(command: &Command) -> Vec<&Command> {
        verbs(command).flat_map(|verb| [vec![verb], all(verb)].concat()).collect()
    }

    /// The words of a line of a shell, up to a pipe, a redirection, or three spaces, behind which it is explained.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (vec![], None::<String>, false);
        let typed = line.split("   ").next().unwrap_or_default();
        for c in typed.chars() {
            match c {
                '\'' => {
                    quote = !quote;
                    word.get_or_insert_default();
                }
                '|' | '>' if !quote => break,
                ' ' if !quote => words.extend(word.take()),
                c => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn every_verb_has_examples_that_can_be_typed() {
        let iso = described();
        let mut typed = 0;
        for command in [vec![&iso], all(&iso)].concat() {
            let name = name(command);
            let text = command.get_after_help().unwrap_or_else(|| panic!("{name} has no examples")).to_string();
            let (_, examples) = text.split_once("Examples:\n").unwrap_or_else(|| panic!("{name}: {text}"));
            // A line that goes on does so on the next one.
            let examples = examples.replace("\\\n", "");
            let examples: Vec<_> = examples.lines().take_while(|line| line.starts_with("  ")).collect();
            assert!(!examples.is_empty(), "{name}");
            for line in examples.iter().map(|line| line.trim_start()).filter(|line| line.starts_with("iso ")) {
                // Wildcards and substitutions are the shell's, and any word takes their place.
                Cli::command().try_get_matches_from(words(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
                typed += 1;
            }
        }
        assert!(typed > 100, "{typed}");
    }

    #[test]
    fn every_verb_has_a_page_and_help_has_none() {
        let iso = described();
        let names: Vec<&str> = all(&iso).into_iter().map(name).collect();
        assert!(names.contains(&"iso-chaos-run") && names.contains(&"iso-man"), "{names:?}");
        assert!(!names.iter().any(|name| name.ends_with("-help") || name.contains("node")), "{names:?}");
        for command in all(&iso) {
            let page = page(command).unwrap();
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "\"SEE ALSO\""] {
                assert!(page.contains(&format!(".SH {section}\n")), "{} has no {section}: {page}", name(command));
            }
            assert!(!page.contains("EXTRA"), "{page}");
        }
    }

    #[test]
    fn examples_keep_their_lines_and_exit_codes_their_section() {
        let mut roff = Roff::new();
        explain(
            "Examples:\n  iso up -d\n  iso down\n\nProse\nthat is filled.\n\nExit codes: 0 done,\n1 failed.",
            &mut roff,
        );
        expect![[r#"
            .SH EXAMPLES
            .RS
            .nf
            iso up \-d
            iso down
            .fi
            .RE
            .PP
            Prose
            that is filled.
            .SH "EXIT STATUS"
            0 done, 1 failed.
        "#]]
        .assert_eq(&roff.to_roff());
    }

    #[test]
    fn a_page_names_those_above_it() {
        let iso = described();
        let run = iso.find_subcommand("chaos").and_then(|chaos| chaos.find_subcommand("run")).unwrap();
        let mut roff = Roff::new();
        see_also(run, &mut roff);
        assert!(roff.to_roff().ends_with("\\fBiso\\fR(1),\n\\fBiso\\-chaos\\fR(1)\n"), "{}", roff.to_roff());
        let VerbError::Usage(text) = no_such_verb(&iso, "kil") else { panic!("that is wrong usage") };
        assert_eq!(text, "`iso` has no verb \"kil\"; did you mean `kill`?");
    }
}
