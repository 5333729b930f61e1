//! Bytes on a socket, so that the stand-ins are not tested with a client that shares their views.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_testkit::peers::SendGridStandIn;

/// One connection to a stand-in.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

/// Status, lower-case headers, body; `None` if the connection was closed instead.
pub(crate) type Answer = Option<(u16, Vec<(String, String)>, String)>;

impl Connection {
    pub(crate) fn to(stand_in: &SendGridStandIn) -> Self {
        let stream =
            TcpStream::connect(stand_in.url().trim_start_matches("http://")).expect("the stand-in listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: &str) {
        self.stream.get_mut().write_all(bytes.as_bytes()).expect("the connection is open");
    }

    pub(crate) fn answer(&mut self) -> Answer {
        let mut line = String::new();
        if self.stream.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = header(&headers, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some((status, headers, String::from_utf8(body).ok()?))
    }

    /// Sends one mail with the right key and reads the answer.
    pub(crate) fn mail(&mut self, job_id: &str, recipient: &str) -> Answer {
        self.send(&request(&mail(job_id, recipient), "Authorization: Bearer SG.stand-in\r\n"));
        self.answer()
    }
}

pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

pub(crate) fn mail(job_id: &str, recipient: &str) -> Value {
    json!({
        "personalizations": [{"to": [{"email": recipient}]}],
        "from": {"email": "news@acme.example"},
        "subject": "Hello",
        "content": [{"type": "text/plain", "value": "Hello"}],
        "custom_args": {"job_id": job_id},
    })
}

pub(crate) fn request(body: &Value, more_headers: &str) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST /v3/mail/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{more_headers}\r\n{body}"
    )
}
