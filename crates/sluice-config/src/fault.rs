//! What is wrong with a configuration: every fault, by key.

/// One fault, or one warning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigFault {
    /// The key, such as `esp[1].limits[0]`; the variable if the fault is in its name; empty if the text is not TOML.
    pub key: String,
    /// What is wrong and what would be right. Never a secret.
    pub detail: String,
}

impl std::fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.key.is_empty() {
            f.write_str(&self.detail)
        } else {
            write!(f, "{}: {}", self.key, self.detail)
        }
    }
}

/// Every fault of one configuration; displayed one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFaults(pub Vec<ConfigFault>);

impl std::fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}
