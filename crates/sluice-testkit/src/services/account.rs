//! The account a server runs under: Postgres refuses to run as root.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// A user and group id, read from `/etc/passwd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// Whom Postgres should run as: `None` (ourselves) unless we are root, then `postgres`, else `nobody`.
    pub(crate) fn for_postgres() -> Option<Self> {
        let me = std::fs::metadata("/proc/self").expect("/proc is there").uid();
        if me != 0 {
            return None;
        }
        let passwd = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
        let account = Self::named("postgres", &passwd).or_else(|| Self::named("nobody", &passwd));
        Some(
            account
                .expect("running as root, so /etc/passwd needs a user postgres or nobody to run Postgres as"),
        )
    }

    /// Has `command` run as this account, without our supplementary groups.
    pub(crate) fn apply(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Makes this account the owner of `path`.
    pub(crate) fn take_over(self, path: &Path) {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).expect("root may change the owner");
    }

    fn named(name: &str, passwd: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (user, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            (user == name).then_some(Self { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\npostgres2:x:7:7::/:\npostgres:x:101:104:,,,:/var:/bin/bash\n";
        assert_eq!(Account::named("postgres", passwd), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(Account::named("nobody", passwd), None);
    }
}
