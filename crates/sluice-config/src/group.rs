//! `[[domain_group]]`: recipient domains of one mailbox provider, and the limits it gets.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use sluice_types::{GroupName, LimitSpec, normalise_domain};

use crate::limits::{read_esp_limits, read_limits};
use crate::reader::Section;

/// The groups when none is configured: name, domains, MX suffixes. The suffixes are those of KumoMTA's
/// `assets/policy-extras/shaping.toml` (November 2026). Not yahoo.co.jp, which is another company's.
const SHIPPED: [(&str, &[&str], &[&str]); 4] = [
    ("gmail", &["gmail.com", "googlemail.com"], &["google.com", "googlemail.com"]),
    (
        "microsoft",
        &[
            "outlook.com",
            "hotmail.com",
            "live.com",
            "msn.com",
            "outlook.de",
            "outlook.es",
            "outlook.fr",
            "hotmail.co.uk",
            "hotmail.de",
            "hotmail.es",
            "hotmail.fr",
            "hotmail.it",
            "live.co.uk",
            "live.fr",
            "live.nl",
        ],
        &["protection.outlook.com", "mx.microsoft"],
    ),
    (
        "yahoo",
        &[
            "yahoo.com",
            "ymail.com",
            "rocketmail.com",
            "aol.com",
            "aim.com",
            "yahoo.ca",
            "yahoo.co.in",
            "yahoo.co.uk",
            "yahoo.com.au",
            "yahoo.com.br",
            "yahoo.com.mx",
            "yahoo.de",
            "yahoo.es",
            "yahoo.fr",
            "yahoo.it",
        ],
        &["yahoodns.net"],
    ),
    ("apple", &["icloud.com", "me.com", "mac.com"], &["icloud.com"]),
];

/// One entry of `[[domain_group]]`. Without any there are `gmail`, `microsoft`, `yahoo` and `apple`, without limits. The group
/// `other` holds every other domain; it is always there, and may be named to give it limits.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct GroupConfig {
    /// Its name in lanes, metrics and records: a-z 0-9 _ -, at most 64 bytes. Required, used once.
    #[schemars(with = "String")]
    pub name: GroupName,
    /// Recipient domains, each in one group only. None for `other`.
    #[schemars(with = "Option<Vec<String>>")]
    pub domains: Vec<String>,
    /// Ends of mail exchanger names: a domain whose MX lies beneath one of them is limited with this group. None for `other`.
    #[schemars(with = "Option<Vec<String>>")]
    pub mx: Vec<String>,
    /// Limits of the group, over all ESPs and replicas. None by default.
    #[schemars(with = "Option<Vec<String>>")]
    pub limits: Vec<LimitSpec>,
    /// Limits of the group at each ESP. None by default.
    #[schemars(with = "Option<Vec<String>>")]
    pub limits_per_esp: Vec<LimitSpec>,
    /// Limits of each single domain of the group `other`. None by default.
    #[schemars(with = "Option<Vec<String>>")]
    pub limits_per_domain: Vec<LimitSpec>,
}

/// What the entries before have taken.
#[derive(Default)]
struct Taken {
    names: BTreeSet<GroupName>,
    /// Domain to group.
    domains: BTreeMap<String, String>,
    /// MX suffix to group.
    mx: BTreeMap<String, String>,
}

impl GroupConfig {
    /// Every group, `other` among them; and every name that is used, be there a fault in its group or not.
    pub(crate) fn read_all(section: &mut Section<'_, '_>) -> (Vec<Self>, BTreeSet<GroupName>) {
        let mut taken = Taken::default();
        let mut groups = if section.has_entries("domain_group") { Vec::new() } else { Self::shipped() };
        groups.extend(section.tables("domain_group", |section| Self::read(section, &mut taken)));
        if !groups.iter().any(|group| group.name.is_other()) {
            groups.push(Self::without_limits(GroupName::other()));
        }
        let mut names = taken.names;
        names.extend(groups.iter().map(|group| group.name.clone()));
        (groups, names)
    }

    fn read(section: &mut Section<'_, '_>, taken: &mut Taken) -> Option<Self> {
        let name = section.name("name", &mut taken.names);
        let is_other = name.as_ref().is_some_and(GroupName::is_other);
        let has_limits_per_domain = section.has("limits_per_domain");
        let faults_before = section.fault_count();
        let label = name.as_ref().map_or("", GroupName::as_str);
        let domains = section.texts("domains", |text| claim(text, label, &mut taken.domains));
        let mx = section.texts("mx", |text| claim(text.trim_start_matches('.'), label, &mut taken.mx));
        let lists_are_sound = section.fault_count() == faults_before;
        let limits = read_limits(section, "limits");
        let limits_per_esp = read_esp_limits(section, "limits_per_esp");
        let limits_per_domain = read_limits(section, "limits_per_domain");
        if is_other && !(domains.is_empty() && mx.is_empty()) {
            section
                .fault("domains", "the group `other` holds every domain that no group names; it has no list");
        } else if name.is_some() && !is_other && lists_are_sound && domains.is_empty() && mx.is_empty() {
            section.fault("domains", "needs at least one (or mx does)");
        }
        if name.is_some() && !is_other && has_limits_per_domain {
            section.fault("limits_per_domain", "goes with the group `other` only");
        }
        Some(Self { name: name?, domains, mx, limits, limits_per_esp, limits_per_domain })
    }

    /// The groups when none is configured, without `other`.
    pub(crate) fn shipped() -> Vec<Self> {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        SHIPPED
            .iter()
            .filter_map(|(name, domains, mx)| {
                let group = Self::without_limits(name.parse().ok()?);
                Some(Self { domains: owned(domains), mx: owned(mx), ..group })
            })
            .collect()
    }

    /// A group without domains and limits.
    const fn without_limits(name: GroupName) -> Self {
        Self {
            name,
            domains: Vec::new(),
            mx: Vec::new(),
            limits: Vec::new(),
            limits_per_esp: Vec::new(),
            limits_per_domain: Vec::new(),
        }
    }
}

fn claim(text: &str, group: &str, taken: &mut BTreeMap<String, String>) -> Result<String, String> {
    let domain = normalise_domain(text).map_err(|error| format!("{text:?} {error}"))?;
    match taken.insert(domain.clone(), group.to_owned()) {
        None => Ok(domain),
        Some(earlier) if earlier == group => Err(format!("`{domain}` is in this list twice")),
        Some(earlier) => Err(format!("`{domain}` is in the group `{earlier}` too")),
    }
}
