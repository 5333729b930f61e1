//! What a process must never write: addresses of people, and the secrets of its own configuration.

/// Lines of a log that are shown at most.
const SHOWN_MAX: usize = 5;
/// A shorter secret would be found in words that are none.
const SECRET_MIN_BYTES: usize = 6;

/// The lines of `text` with an address, or with a secret of `config` (TOML); the first few.
pub(crate) fn leaks(config: &str, text: &str) -> Vec<String> {
    let secrets = secrets(config);
    let leaky = |line: &&str| has_address(line) || secrets.iter().any(|secret| line.contains(secret));
    text.lines().filter(leaky).take(SHOWN_MAX).map(str::to_owned).collect()
}

/// Keys of interfaces, and the passwords of addresses.
fn secrets(config: &str) -> Vec<&str> {
    let mut secrets = Vec::new();
    for line in config.lines() {
        let Some((key, rest)) = line.trim().split_once('=') else { continue };
        let quoted = rest.trim().trim_matches(['"', '\'']);
        match key.trim() {
            "api_key" => secrets.push(quoted),
            "url" => {
                let authority = quoted.split("://").nth(1).and_then(|it| it.rsplit_once('@'));
                secrets.extend(
                    authority.and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password),
                );
            }
            _ => {}
        }
    }
    secrets.retain(|secret| secret.len() >= SECRET_MIN_BYTES);
    secrets
}

/// Whether something in the line reads `local@domain.tld`. The `user@host` of a server's address is one too.
fn has_address(line: &str) -> bool {
    let of_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    line.match_indices('@').any(|(at, _)| {
        let (before, after) = (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default());
        let domain = after.split(|c| !of_name(c)).next().unwrap_or_default().trim_matches('.');
        before.chars().next_back().is_some_and(of_name) && domain.contains('.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
        url = \"amqp://guest:hunter22@127.0.0.1:5672/x\"
        url = 'postgres://postgres@127.0.0.1:5432/y'
        api_key = \"SG.secret\"
    ";

    #[test]
    fn addresses_and_secrets_are_found() {
        for (line, is_leak) in [
            ("INFO sent job=j-1 esp=main", false),
            ("WARN user [address] refused", false),
            ("connection of worker@host", false),
            ("a @ b.c", false),
            ("to ada@gmail.com", true),
            ("to=<ada+x@mail.acme.example>:", true),
            ("postgres://postgres@127.0.0.1:5432/y", true),
            ("amqp://guest:hunter22", true),
            ("Authorization: Bearer SG.secret", true),
        ] {
            assert_eq!(!leaks(CONFIG, line).is_empty(), is_leak, "{line}");
        }
        assert_eq!(leaks(CONFIG, &"a@b.example\n".repeat(99)).len(), SHOWN_MAX);
    }
}
