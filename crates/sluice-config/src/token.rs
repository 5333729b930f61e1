//! `[[http.token]]`: who may call the HTTP interface.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reader::Section;

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Put jobs in.
    Publish,
    /// Look at states, limits and results.
    Read,
    /// Change limits, breakers, suppressions, dead letters.
    Operate,
}

/// SHA-256 of a token. Its `Debug` shows the first bytes only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The 32 bytes, to be compared in constant time.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        // `from_str_radix` would take a sign.
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl std::fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [first, second, ..] = self.0;
        write!(f, "TokenDigest({first:02x}{second:02x}..)")
    }
}

/// One entry of `[[http.token]]`.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HttpToken {
    /// Whose it is; shown in logs. Required, used once.
    pub name: String,
    /// SHA-256 of the token, 64 hex digits: `printf %s "$TOKEN" | sha256sum`. The token itself is never configured.
    /// Required.
    #[schemars(with = "String", regex(pattern = "^[0-9a-fA-F]{64}$"))]
    pub sha256: TokenDigest,
    /// What it allows: `publish`, `read`, `operate`. Required, at least one.
    pub scopes: Vec<Scope>,
}

impl HttpToken {
    pub(crate) fn read(
        section: &mut Section<'_, '_>,
        names: &mut BTreeSet<String>,
        digests: &mut BTreeSet<TokenDigest>,
    ) -> Option<Self> {
        let name = section.name("name", names);
        let sha256 = section.required("sha256").and_then(|text: String| {
            let digest = TokenDigest::from_hex(text.trim());
            if digest.is_none() {
                section.fault("sha256", "must be 64 hex digits, the SHA-256 of the token");
            }
            digest
        });
        if sha256.is_some_and(|digest| !digests.insert(digest)) {
            section.fault("sha256", "is the digest of an earlier token too");
        }
        let scopes: BTreeSet<Scope> = section
            .texts("scopes", |word| match word {
                "publish" => Ok(Scope::Publish),
                "read" => Ok(Scope::Read),
                "operate" => Ok(Scope::Operate),
                _ => Err("is none of `publish`, `read` and `operate`"),
            })
            .into_iter()
            .collect();
        if scopes.is_empty() {
            section.fault(
                "scopes",
                "a token without scopes allows nothing; name `publish`, `read` or `operate`",
            );
        }
        Some(Self { name: name?, sha256: sha256?, scopes: scopes.into_iter().collect() })
    }
}
