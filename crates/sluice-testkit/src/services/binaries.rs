//! Where the servers' programs are.

use std::path::{Path, PathBuf};

/// Debian keeps the newest Postgres apart from the client tools on PATH.
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";
/// The programs themselves. The wrapper on PATH changes the user and then cannot write our directories.
const RABBITMQ_DIRS: [&str; 3] = ["/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin", "/usr/local/sbin"];
const RABBITMQ_VERSIONS: &str = "/usr/lib/rabbitmq/lib";

/// The first `program` on PATH, links resolved.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())?.canonicalize().ok()
}

/// The directory with `postgres` and `initdb`.
///
/// # Panics
/// If there is none.
pub(crate) fn postgres_dir() -> PathBuf {
    let on_path = on_path("postgres").and_then(|file| file.parent().map(Path::to_path_buf));
    on_path
        .into_iter()
        .chain(versions(POSTGRES_VERSIONS).into_iter().map(|version| version.join("bin")))
        .find(|dir| dir.join("initdb").is_file() && dir.join("postgres").is_file())
        .unwrap_or_else(|| missing("postgres and initdb", "postgresql"))
}

/// The directory with `rabbitmq-server` and `rabbitmqctl`.
///
/// # Panics
/// If there is none.
pub(crate) fn rabbitmq_dir() -> PathBuf {
    RABBITMQ_DIRS
        .iter()
        .map(PathBuf::from)
        .chain(versions(RABBITMQ_VERSIONS).into_iter().map(|version| version.join("sbin")))
        .find(|dir| dir.join("rabbitmq-server").is_file() && dir.join("rabbitmqctl").is_file())
        .unwrap_or_else(|| missing("rabbitmq-server and rabbitmqctl", "rabbitmq-server"))
}

/// Erlang's port mapper.
///
/// # Panics
/// If there is none.
pub(crate) fn epmd() -> PathBuf {
    on_path("epmd").unwrap_or_else(|| missing("epmd", "erlang-base"))
}

/// The directories below `dir`, newest version first.
fn versions(dir: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort_by_key(|path| std::cmp::Reverse(version_numbers(path)));
    found
}

fn version_numbers(path: &Path) -> Vec<u32> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn missing(what: &str, package: &str) -> ! {
    panic!(
        "{what} not found; the tests run real servers and never skip: \
         run scripts/test, which installs them, or `apt-get install {package}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let newer = version_numbers(Path::new("/x/rabbitmq_server-3.10.8"));
        let older = version_numbers(Path::new("/x/rabbitmq_server-3.9.27"));
        assert!(newer > older);
        assert!(version_numbers(Path::new("/x/15")) > version_numbers(Path::new("/x/9.6")));
    }
}
