//! `sluice suppress`.

use crate::rig::Rig;

#[test]
fn recipients_are_added_listed_and_removed() {
    let rig = Rig::new();
    let said = rig.run(&["suppress", "add", "Ada@Example.COM", "bob@example.com"]);
    assert_eq!((said.code, said.out.as_str()), (0, "added 2, replaced 0, errors 0\n"), "{said:?}");
    let said = rig.run(&["suppress", "add", "ada@example.com", "--reason", "complaint"]);
    assert_eq!(said.out, "added 0, replaced 1, errors 0\n");
    let list = rig.json(&["suppress", "list"]);
    let ada = list.as_array().unwrap().iter().find(|it| it["recipient"] == "ada@example.com").unwrap();
    assert_eq!(
        (&ada["reason"], &ada["source"], &ada["tenant"]),
        (&"complaint".into(), &"cli".into(), &().into())
    );
    assert!(ada["created_at"].as_str().unwrap().ends_with('Z'), "{ada}");
    assert!(rig.run(&["suppress", "list"]).out.contains("(every)"));
    assert_eq!(rig.json(&["suppress", "remove", "ADA@example.com"])["removed"], 1);
    assert_eq!(rig.json(&["suppress", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn an_entry_of_a_tenant_is_removed_for_that_tenant_only() {
    let rig = Rig::new();
    rig.run(&["suppress", "add", "ada@example.com", "--tenant", "acme"]);
    let said = rig.run(&["suppress", "remove", "ada@example.com"]);
    assert_eq!((said.code, said.out.as_str()), (0, "removed 0\n"));
    assert!(said.err.contains("1 had no entry for every tenant"), "{}", said.err);
    assert_eq!(rig.json(&["suppress", "remove", "ada@example.com", "--tenant", "acme"])["removed"], 1);
}

#[test]
fn a_file_is_read_line_by_line_and_bad_lines_are_told() {
    let rig = Rig::new();
    rig.file(
        "gone.txt",
        "# left in spring\r\nada@example.com\r\n\r\nnobody\na#b@example.com\nADA@example.com\n",
    );
    let said = rig.run(&["suppress", "add", "--file", "gone.txt", "--reason", "unsubscribe"]);
    assert_eq!((said.code, said.out.as_str()), (1, "added 2, replaced 1, errors 1\n"), "{said:?}");
    assert_eq!(said.err, "line 4: is not of the form local@domain\n");
    let said = rig.run_with(&["suppress", "add", "--file", "-", "--format", "json"], b"cid@example.com");
    assert_eq!(said.json()["added"], 1);
}

#[test]
fn what_is_no_address_is_wrong_usage() {
    let said = Rig::new().run(&["suppress", "add", "nobody"]);
    assert_eq!(said.code, 2);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let rig = Rig::new();
    rig.run(&["suppress", "add", "ada@example.com"]);
    let mut child = rig.command(&["suppress", "list"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
