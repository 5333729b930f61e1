//! What the command line says of itself.

use crate::rig::Rig;

/// Every command, but the demo, which says it in its own words.
const COMMANDS: [&[&str]; 32] = [
    &["run"],
    &["enqueue"],
    &["check-config"],
    &["migrate"],
    &["status"],
    &["why"],
    &["limits"],
    &["limits", "list"],
    &["limits", "set"],
    &["limits", "reset"],
    &["esp"],
    &["esp", "list"],
    &["esp", "open"],
    &["campaign"],
    &["campaign", "list"],
    &["campaign", "pause"],
    &["campaign", "resume"],
    &["campaign", "cancel"],
    &["dead"],
    &["dead", "list"],
    &["dead", "show"],
    &["dead", "replay"],
    &["dead", "drop"],
    &["unknown"],
    &["unknown", "list"],
    &["unknown", "resend"],
    &["unknown", "settle"],
    &["suppress"],
    &["suppress", "add"],
    &["suppress", "remove"],
    &["suppress", "list"],
    &["schema"],
];

#[test]
fn the_first_page_is_as_reviewed() {
    let said = Rig::new().run(&["--help"]);
    assert_eq!(said.code, 0);
    insta::assert_snapshot!(said.out);
}

#[test]
fn the_usage_of_every_command_is_as_reviewed() {
    let rig = Rig::new();
    let usage = |command: &&[&str]| {
        let said = rig.run(&[command, &["-h"][..]].concat());
        assert_eq!(said.code, 0, "{command:?}");
        said.out.lines().find(|line| line.starts_with("Usage:")).unwrap_or("no usage").to_owned()
    };
    insta::assert_snapshot!(COMMANDS.iter().map(usage).collect::<Vec<_>>().join("\n"));
}

#[test]
fn every_command_shows_examples() {
    let rig = Rig::new();
    for command in COMMANDS.iter().filter(|command| command.len() == 1) {
        let said = rig.run(&[command, &["--help"][..]].concat());
        assert!(said.out.contains("Examples:"), "{command:?}");
    }
}

#[test]
fn the_help_of_enqueue_is_as_reviewed() {
    insta::assert_snapshot!(Rig::new().run(&["enqueue", "--help"]).out);
}

#[test]
fn wrong_usage_exits_2() {
    let rig = Rig::new();
    for args in [
        &["enqeue", "x.csv"][..],
        &[],
        &["run", "--roles", "cook"],
        &["run", "--listen", "here"],
        &["dead", "list", "--reason", "weather"],
        &["dead", "drop"],
        &["dead", "drop", "--all"],
        &["why", "not an id"],
        &["suppress", "remove", "nobody"],
        &["status", "--format", "xml"],
        &["status", "--log", "sluice=loud"],
    ] {
        let said = rig.run(args);
        assert_eq!(said.code, 2, "{args:?}: {said:?}");
        assert_eq!(said.out, "", "{args:?}");
    }
    assert!(rig.run(&["enqeue"]).err.contains("enqueue"), "a near miss is told what it nearly was");
}

#[test]
fn the_version_is_told() {
    let said = Rig::new().run(&["--version"]);
    assert_eq!((said.code, said.out.trim()), (0, concat!("sluice ", env!("CARGO_PKG_VERSION"))));
}
