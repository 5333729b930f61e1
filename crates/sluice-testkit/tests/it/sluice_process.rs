//! A child process is configured, watched, signalled and ended. A Python program stands in for the binary, so that
//! these tests are about the testkit alone.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use sluice_testkit::peers::python;
use sluice_testkit::services::{SluiceCommand, SluiceProcess};

const PROGRAM: &str = r#"
import http.server, os, signal, sys
print("arguments", sys.argv[1:], "extra", os.environ.get("EXTRA"), flush=True)
print("config", open(os.environ["SLUICE_CONFIG"]).read(), file=sys.stderr, flush=True)
if sys.argv[1:] == ["broken"]:
    sys.exit(78)
signal.signal(signal.SIGTERM, lambda *_: (print("draining", flush=True), os._exit(3)))
class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += 1
        self.send_response(503 if Handler.asked < 3 else 200)
        self.end_headers()
        self.wfile.write(b"as asked")
host, port = os.environ["SLUICE__HTTP__LISTEN"].split(":")
http.server.HTTPServer((host, int(port)), Handler).serve_forever()
"#;

/// The program, and the directory that holds it.
fn program() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let path = dir.path().join("sluice");
    let mut file = std::fs::File::create(&path).expect("a file can be made");
    write!(file, "#!{}\n{PROGRAM}", python().display()).expect("a file can be written");
    file.set_permissions(std::fs::Permissions::from_mode(0o755)).expect("a file can be made executable");
    (dir, path)
}

fn command(path: &std::path::Path) -> SluiceCommand {
    SluiceProcess::command("[http]\n").binary(path).env("EXTRA", "salt")
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn it_becomes_ready_and_drains_on_sigterm() {
    let (_dir, path) = program();
    let sluice = command(&path).start();
    sluice.wait_ready(LONG);
    assert_eq!(sluice.get("/x").unwrap(), (200, "as asked".to_owned()));
    assert_eq!(sluice.status(), None);
    sluice.sigterm();
    assert_eq!(sluice.wait(LONG).code(), Some(3));
    let log = sluice.log();
    for part in ["arguments ['run'] extra salt", "config [http]", "draining"] {
        assert!(log.contains(part), "no {part} in {log}");
    }
}

#[test]
fn it_can_be_paused_and_killed() {
    let (_dir, path) = program();
    let sluice = command(&path).start();
    sluice.wait_ready(LONG);
    sluice.pause();
    assert!(sluice.get("/x").is_err());
    sluice.resume();
    sluice.get("/x").unwrap();
    sluice.kill9();
    assert_eq!(sluice.wait(LONG).signal(), Some(9));
}

#[test]
fn a_command_that_ends_tells_how() {
    let (_dir, path) = program();
    let sluice = command(&path).args(["broken"]).start();
    assert_eq!(sluice.wait(LONG).code(), Some(78));
}

#[test]
fn dropped_it_is_gone_with_its_directory() {
    let (_dir, path) = program();
    let sluice = command(&path).start();
    let (pid, dir) = (sluice.pid(), sluice.dir().to_owned());
    assert!(dir.join("sluice.toml").is_file());
    drop(sluice);
    assert!(!dir.exists());
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists());
}
