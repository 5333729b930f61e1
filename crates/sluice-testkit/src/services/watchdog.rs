//! A shell beside the test process that outlives it and clears up: whatever way the test process ends, `kill -9`
//! included, the shell reads end-of-file, kills what was registered and removes the directories.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// One line on standard input is one registration. A tree is first sent QUIT if it asked for that (Postgres then
/// frees its shared memory), and is killed two seconds later. Stopping a process before its children are listed
/// keeps it from forking meanwhile.
const SCRIPT: &str = r#"
without() {
    for entry in $1; do [ "$entry" = "$2" ] || printf '%s ' "$entry"; done
}
children() {
    for stat in /proc/[0-9]*/stat; do
        read -r line < "$stat" || continue
        set -- "$1" ${line##*) }
        [ "$3" = "$1" ] && printf '%s ' "${line%% *}"
    done
}
fell() {
    kill -s STOP "$1"
    for child in $(children "$1"); do fell "$child"; done
    kill -s KILL "$1"
}
trees='' polite='' dirs=''
while read -r verb what; do
    case $verb in
        tree) trees="$trees $what" ;;
        polite) polite="$polite $what" ;;
        dir) dirs="$dirs $what" ;;
        forget) trees=$(without "$trees" "$what") polite=$(without "$polite" "$what") dirs=$(without "$dirs" "$what") ;;
    esac
done
for pid in $trees; do fell "$pid"; done
for pid in $polite; do kill -s QUIT "$pid"; done
for pid in $polite; do
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        kill -s 0 "$pid" || break
        sleep 0.1
    done
    fell "$pid"
done
for dir in $dirs; do rm -rf "$dir"; done
"#;

/// Never waited for: it ends after us.
static WATCHDOG: OnceLock<Mutex<Child>> = OnceLock::new();

/// How a tree of processes is ended once the test process is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// SIGKILL at once.
    Kill,
    /// SIGQUIT to the root, SIGKILL two seconds later.
    QuitFirst,
}

/// Has the tree below `pid` killed when the test process ends.
pub(crate) fn guard_tree(pid: u32, ending: Ending) {
    match ending {
        Ending::Kill => tell(&format!("tree {pid}")),
        Ending::QuitFirst => tell(&format!("polite {pid}")),
    }
}

/// Takes `pid` off the list; to be called once it was reaped, since the number may be given out again.
pub(crate) fn forget_tree(pid: u32) {
    tell(&format!("forget {pid}"));
}

/// Has `path` (without blanks) removed when the test process ends.
pub(crate) fn guard_dir(path: &Path) {
    tell(&format!("dir {}", path.display()));
}

/// Takes `path` off the list.
pub(crate) fn forget_dir(path: &Path) {
    tell(&format!("forget {}", path.display()));
}

fn tell(line: &str) {
    let mut shell = WATCHDOG.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner);
    let stdin = shell.stdin.as_mut().expect("standard input is piped");
    stdin
        .write_all(format!("{line}\n").as_bytes())
        .expect("the watchdog reads as long as this process lives");
}

/// In a process group of its own, so that Ctrl-C in the terminal reaches the tests and not the watchdog.
fn start() -> Mutex<Child> {
    let shell = Command::new("sh")
        .args(["-c", SCRIPT])
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts");
    Mutex::new(shell)
}
