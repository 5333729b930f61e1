//! `sluice enqueue` of CSV files.

use crate::rig::Rig;

const PEOPLE: &str = "email,name,first_name\nada@gmail.com,Ada Lovelace,Ada\nbob@yahoo.com,Bob,Bob\n";
const MERGE: [&str; 7] = [
    "enqueue",
    "people.csv",
    "--from=Acme <news@acme.example>",
    "--subject=Hello {{ first_name }}",
    "--text-file=hello.txt",
    "--class=bulk",
    "--var-columns",
];

fn merge(people: impl AsRef<[u8]>) -> Rig {
    let rig = Rig::new();
    rig.file("people.csv", people);
    rig.file("hello.txt", "Dear {{ first_name }}");
    rig
}

#[test]
fn a_mail_merge_is_queued_once_however_often_it_is_run() {
    let rig = merge(PEOPLE);
    let said = rig.run(&MERGE);
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "queued 2, duplicate 0, errors 0, unavailable 0\n"),
        "{said:?}"
    );
    let said = rig.run(&MERGE);
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "queued 0, duplicate 2, errors 0, unavailable 0\n"),
        "{said:?}"
    );
    let status = rig.json(&["status"]);
    let ready = |lane: &str| {
        let lanes = status["lanes"].as_array().unwrap();
        lanes.iter().find(|it| it["lane"] == lane).unwrap()["ready"].as_u64().unwrap()
    };
    assert_eq!((ready("default.bulk.gmail"), ready("default.bulk.yahoo")), (1, 1));
}

#[test]
fn bad_lines_are_told_and_the_rest_goes_on() {
    let rig = merge(
        "email,first_name\r\nada@gmail.com,Ada\r\nnobody,N\r\n\r\n\"bob@yahoo.com\",\"B\nB\"\r\nc@d.example,C,extra\r\nlast@yahoo.com,\r\n",
    );
    let args = [&MERGE[..], &["--subject=Hello"]].concat();
    assert_eq!(rig.run(&args).code, 2, "an option given twice is wrong usage");
    let told = rig.run(&[
        "enqueue",
        "people.csv",
        "--from=a@acme.example",
        "--subject=Hi",
        "--text-file=hello.txt",
        "--var-columns",
        "--format=json",
    ]);
    assert_eq!(told.code, 1);
    let lines: Vec<&str> = told.err.lines().collect();
    assert_eq!(lines.len(), 2, "{}", told.err);
    assert!(lines[0].starts_with("line 3: to.email: "), "{}", lines[0]);
    assert!(lines[1].starts_with("line 7: has 3 cells"), "{}", lines[1]);
    let told = told.json();
    assert_eq!((&told["lines"], &told["queued"], &told["errors"]), (&5.into(), &3.into(), &2.into()));
    assert_eq!(told["bad_lines"][0]["reason"], "invalid_value");
    assert_eq!(told["bad_lines"][0]["line"], 3);
}

#[test]
fn a_header_that_is_wrong_is_told_before_anything_is_opened() {
    let rig = merge("emial,first_name\nada@gmail.com,Ada\n");
    let said = rig.run(&["enqueue", "people.csv", "--text-file=hello.txt"]);
    assert_eq!(said.code, 2, "what is missing can be given as an option");
    for part in ["`emial`, `first_name`", "no column `to.email`", "no --from", "no --subject"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert!(!rig.store().exists());
}

#[test]
fn nothing_is_a_job_that_is_not_utf8_or_too_long() {
    let mut people = b"email,first_name\n".to_vec();
    people.extend_from_slice(b"ada@gmail.com,Ad\xe4\n");
    people.extend_from_slice(format!("bob@gmail.com,{}\n", "x".repeat(300 * 1024)).as_bytes());
    people.extend_from_slice(b"cid@gmail.com,Cid\n");
    let rig = merge(people);
    let said = rig.run(&MERGE);
    assert_eq!((said.code, said.out.as_str()), (1, "queued 1, duplicate 0, errors 2, unavailable 0\n"));
    assert!(said.err.contains("line 2: first_name: is not UTF-8"), "{}", said.err);
    assert!(said.err.contains("line 3: the row is longer than 262144 bytes"), "{}", said.err);
}

#[test]
fn a_dry_run_queues_nothing() {
    let rig = merge(PEOPLE);
    let said = rig.run(&[&MERGE[..], &["--dry-run"]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("would queue 2"), "{}", said.out);
    let said = rig.run(&MERGE);
    assert_eq!(said.out, "queued 2, duplicate 0, errors 0, unavailable 0\n");
}

#[test]
fn a_template_that_fails_is_told_for_its_line() {
    let rig = merge("email,first\nada@gmail.com,Ada\n");
    let said = rig.run(&MERGE);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("line 2: subject: ") && said.err.contains("(template)"), "{}", said.err);
}

#[test]
fn other_delimiters_and_stdin_are_read() {
    let rig = merge("");
    let people = "\u{feff}Email;Name\nada@gmail.com;Ada\n";
    let args = [
        "enqueue",
        "-",
        "--input=csv",
        "--delimiter=;",
        "--from=a@acme.example",
        "--subject=Hi",
        "--text-file=hello.txt",
    ];
    let said = rig.run_with(&args, people.as_bytes());
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "queued 1, duplicate 0, errors 0, unavailable 0\n"),
        "{said:?}"
    );
    let said = rig.run_with(&["enqueue", "-"], people.as_bytes());
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("--input"), "{}", said.err);
}

#[test]
fn only_the_first_bad_lines_are_told_one_by_one() {
    let rig = merge(format!("email,first_name\n{}", "nobody,N\n".repeat(50)));
    let said = rig.run(&MERGE);
    assert_eq!(said.code, 1);
    assert_eq!(said.err.lines().filter(|line| line.starts_with("line ")).count(), 20);
    assert!(said.err.contains("and 30 more bad lines"), "{}", said.err);
}
