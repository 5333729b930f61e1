//! DNS messages by hand (RFC 1035 section 4).

const CNAME: u16 = 5;
const SOA: u16 = 6;
const MX: u16 = 15;
const IN: u16 = 1;

/// What was asked.
pub(crate) struct Question {
    pub(crate) id: u16,
    pub(crate) domain: String,
    /// The question section as it came.
    pub(crate) section: Vec<u8>,
}

/// Reads a query with one question.
pub(crate) fn question(packet: &[u8]) -> Question {
    let id = u16::from_be_bytes([packet[0], packet[1]]);
    let (mut at, mut labels) = (12, Vec::new());
    while packet[at] != 0 {
        let length = usize::from(packet[at]);
        labels.push(String::from_utf8(packet[at + 1..=at + length].to_vec()).unwrap());
        at += length + 1;
    }
    let section = packet[12..at + 5].to_vec();
    let (mx, ns) = ([0, 15, 0, 1], [0, 2, 0, 1]);
    let asks = if labels.is_empty() { ns } else { mx };
    assert_eq!(section[section.len() - 4..], asks, "asks for the MX of a domain, or for the NS of the root");
    Question { id, domain: labels.join("."), section }
}

/// An answer's header fields that vary, and its sections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) code: u8,
    pub(crate) truncated: bool,
    pub(crate) answers: Vec<Vec<u8>>,
    pub(crate) authorities: Vec<Vec<u8>>,
}

impl Message {
    /// The message as the answer to a question.
    pub(crate) fn encode(&self, id: u16, question_section: &[u8]) -> Vec<u8> {
        let mut bytes = id.to_be_bytes().to_vec();
        // Response, recursion desired and available.
        bytes.extend([0x81 | (u8::from(self.truncated) << 1), 0x80 | self.code]);
        for count in [1, self.answers.len(), self.authorities.len(), 0] {
            bytes.extend(u16::try_from(count).unwrap().to_be_bytes());
        }
        bytes.extend(question_section);
        bytes.extend(self.answers.iter().chain(&self.authorities).flatten());
        bytes
    }
}

pub(crate) fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

fn record(owner: &str, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = name(owner);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(IN.to_be_bytes());
    bytes.extend(ttl.to_be_bytes());
    bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(data);
    bytes
}

pub(crate) fn mx(owner: &str, ttl: u32, preference: u16, host: &str) -> Vec<u8> {
    let data = [preference.to_be_bytes().to_vec(), name(host)].concat();
    record(owner, MX, ttl, &data)
}

pub(crate) fn cname(owner: &str, ttl: u32, target: &str) -> Vec<u8> {
    record(owner, CNAME, ttl, &name(target))
}

/// A start of authority whose negative answers hold for `ttl` seconds.
pub(crate) fn soa(owner: &str, ttl: u32) -> Vec<u8> {
    let mut data = [name("ns.example"), name("admin.example")].concat();
    for number in [1, 2, 3, 4, ttl] {
        data.extend(number.to_be_bytes());
    }
    record(owner, SOA, ttl, &data)
}
