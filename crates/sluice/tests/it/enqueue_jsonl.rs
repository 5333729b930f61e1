//! `sluice enqueue` of JSON lines.

use crate::rig::{Rig, job_line};

#[test]
fn jobs_are_queued_once_and_bad_lines_are_told() {
    let rig = Rig::new();
    let good = [job_line("a", "ada@gmail.com"), job_line("b", "bob@example.com")];
    let misspelt = r#"{"v":1,"id":"c","expire_at":"2026-11-24T12:00:00Z"}"#;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let long = job_line("d", "d@example.com").replace("Hello", &"x".repeat(300 * 1024));
    let text = format!("\u{feff}{}\r\n\n{misspelt}\nnot json\n{deep}\n{long}\n{}", good[0], good[1]);
    rig.file("jobs.jsonl", text);
    let said = rig.run(&["enqueue", "jobs.jsonl"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (1, "queued 2, duplicate 0, errors 4, unavailable 0\n"),
        "{said:?}"
    );
    for part in [
        "line 3: expire_at: ",
        "line 4: the body is not JSON",
        "line 5: the body is not JSON",
        "line 6: the line is longer",
    ] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    let said = rig.run(&["enqueue", "jobs.jsonl"]);
    assert!(said.out.starts_with("queued 0, duplicate 2, errors 4"), "{}", said.out);
}

#[test]
fn a_line_that_is_not_utf8_is_a_bad_line() {
    let rig = Rig::new();
    let mut bytes = b"{\"v\":1,\"subject\":\"\xff\"}\n".to_vec();
    bytes.extend_from_slice(job_line("a", "ada@gmail.com").as_bytes());
    rig.file("jobs.ndjson", bytes);
    let said = rig.run(&["enqueue", "jobs.ndjson"]);
    assert!(said.out.starts_with("queued 1, duplicate 0, errors 1"), "{said:?}");
    assert!(said.err.contains("(not_utf8)"), "{}", said.err);
}

#[test]
fn a_job_without_an_id_gets_one_from_its_content() {
    let rig = Rig::new();
    let line = r#"{"v":1,"to":{"email":"ada@gmail.com"},"text":"Hi"}"#;
    // The same content in another order and with other spaces is the same job.
    let same = r#"{ "text": "Hi", "to": {"email": "ada@gmail.com"}, "v": 1 }"#;
    rig.file("jobs.json", format!("{line}\n{same}\n"));
    let args = ["enqueue", "jobs.json", "--from", "news@acme.example", "--subject", "Hi"];
    let told = rig.json(&args);
    assert_eq!((&told["queued"], &told["duplicate"]), (&1.into(), &1.into()), "{told}");
    assert_eq!(rig.json(&args)["duplicate"], 2);
    let other = rig.json(&["enqueue", "jobs.json", "--from", "news@acme.example", "--subject", "Other"]);
    assert_eq!(other["queued"], 1, "another content is another job: {other}");
}

#[test]
fn the_same_id_with_another_body_is_told() {
    let rig = Rig::new();
    rig.file(
        "jobs.jsonl",
        format!("{}\n{}\n", job_line("a", "ada@gmail.com"), job_line("a", "bob@gmail.com")),
    );
    let said = rig.run(&["enqueue", "jobs.jsonl"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("line 2: id: ") && said.err.contains("(id_conflict)"), "{}", said.err);
}

#[test]
fn stdin_that_looks_like_json_lines_is_read_so() {
    let rig = Rig::new();
    let said = rig.run_with(&["enqueue", "-"], job_line("a", "ada@gmail.com").as_bytes());
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "queued 1, duplicate 0, errors 0, unavailable 0\n"),
        "{said:?}"
    );
}

#[test]
fn an_empty_file_is_no_jobs() {
    let rig = Rig::new();
    rig.file("jobs.jsonl", "\n\n");
    assert_eq!(rig.json(&["enqueue", "jobs.jsonl"])["lines"], 0);
}

#[test]
fn thousands_of_jobs_go_in_batches() {
    let rig = Rig::new();
    let lines: Vec<String> = (0..3000).map(|at| job_line(&format!("job-{at}"), "ada@gmail.com")).collect();
    rig.file("jobs.jsonl", lines.join("\n"));
    assert_eq!(rig.json(&["enqueue", "jobs.jsonl"])["queued"], 3000);
    assert_eq!(rig.json(&["enqueue", "jobs.jsonl"])["duplicate"], 3000);
}
