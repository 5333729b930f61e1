//! A safeguard's code is changed: the patches that take it away (`scripts/mutations`) still fit.

use std::path::Path;
use std::process::Command;

#[test]
fn every_patch_applies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut names: Vec<_> =
        root.join("tests/mutations").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 4, "{names:?}");
    for patch in names {
        let checked =
            Command::new("git").current_dir(root).args(["apply", "--check"]).arg(&patch).output().unwrap();
        let complaint = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{}: make it anew: {complaint}", patch.display());
    }
}
