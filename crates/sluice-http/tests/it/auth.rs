//! Who is let in, and where.

use std::sync::Arc;

use sluice_http::{Access, Scope, Token};

use crate::client::{Answer, call, exchange, get, post_with, send};
use crate::rig::{Rig, Setup, job, start_with};

/// SHA-256 of `p-secret`, `r-secret` and `o-secret`.
const DIGESTS: [(&str, &str, Scope); 3] = [
    ("publisher", PUBLISH, Scope::Publish),
    ("reader", READ, Scope::Read),
    ("operator", OPERATE, Scope::Operate),
];
const PUBLISH: &str = "37e2ee47aef9fb9212b80f9215fce538709761c5598a43ab075167cd46589416";
const READ: &str = "f70b45721aa3c282fbc537b643b6b1824a22aadfe2f0e8accccdbc20167a50e1";
const OPERATE: &str = "b0430c3a7a610cc42700527ef918f60bf93193d6ffbb5863b88c034306bebf9e";

fn bytes(hex: &str) -> [u8; 32] {
    std::array::from_fn(|at| u8::from_str_radix(hex.get(at * 2..at * 2 + 2).unwrap(), 16).unwrap())
}

async fn guarded() -> Rig {
    let tokens: Arc<[Token]> = DIGESTS
        .iter()
        .map(|(name, hex, scope)| Token {
            name: (*name).to_owned(),
            sha256: bytes(hex),
            scopes: vec![*scope],
        })
        .collect();
    start_with(Setup { access: Access::Tokens(tokens), ..Setup::default() }).await
}

async fn read_as(rig: &Rig, path: &str, headers: &[&str]) -> Answer {
    call(rig.addr, "GET", path, headers).await
}

const READS: [&str; 5] =
    ["/jobs/known", "/system/status", "/esp/status", "/rate-limits/status", "/openapi.json"];

/// Method, path and body of every order.
const ORDERS: [(&str, &str, &str); 4] = [
    ("PUT", "/rate-limits/esp:sandbox/per:s", r#"{"limit": "50/s"}"#),
    ("DELETE", "/rate-limits/esp:sandbox/per:s", ""),
    ("POST", "/esp/sandbox/breaker", r#"{"order": "open"}"#),
    ("POST", "/campaigns/acme/sale/order", r#"{"order": "paused"}"#),
];

#[tokio::test]
async fn the_routes_of_a_prober_stay_open() {
    let rig = guarded().await;
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(get(rig.addr, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn without_a_token_nothing_else_answers() {
    let rig = guarded().await;
    for path in READS {
        let answer = get(rig.addr, path).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"), "{path}");
        assert_eq!(answer.header("www-authenticate"), Some(r#"bearer realm="sluice""#), "{path}");
    }
    let answer = post_with(rig.addr, &[], job("a").to_string()).await;
    assert_eq!(answer.status, 401);
    assert!(rig.outbox.bodies().is_empty());
}

#[tokio::test]
async fn a_wrong_token_is_refused() {
    let rig = guarded().await;
    for header in [
        "Authorization: Bearer wrong",
        "Authorization: Bearer R-SECRET",
        "Authorization: Bearer r-secret2",
        "Authorization: Bearer f70b45721aa3c282fbc537b643b6b1824a22aadfe2f0e8accccdbc20167a50e1",
        "Authorization: Basic r-secret",
        "Authorization: r-secret",
        "Authorization: Bearer",
        "Authorization:",
    ] {
        let answer = read_as(&rig, "/esp/status", &[header]).await;
        assert_eq!(answer.status, 401, "{header}");
    }
    let answer = read_as(&rig, "/esp/status", &["Authorization: Bearer wrong"]).await;
    let challenge = r#"bearer realm="sluice", error="invalid_token""#;
    assert_eq!(answer.header("www-authenticate"), Some(challenge));
    let twice = ["Authorization: Bearer wrong", "Authorization: Bearer r-secret"];
    assert_eq!(read_as(&rig, "/esp/status", &twice).await.status, 401);
}

#[tokio::test]
async fn a_token_without_the_scope_is_told_which_one_it_lacks() {
    let rig = guarded().await;
    for token in ["p-secret", "o-secret"] {
        for path in READS {
            let answer = read_as(&rig, path, &[&format!("Authorization: Bearer {token}")]).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"), "{token} {path}");
        }
    }
    let answer = post_with(rig.addr, &["Authorization: Bearer r-secret"], job("a").to_string()).await;
    assert_eq!(answer.status, 403);
    insta::assert_snapshot!(
        answer.body,
        @r#"{"error":{"code":"forbidden","message":"this token lacks the scope `publish`"}}"#
    );
    let challenge = r#"bearer realm="sluice", error="insufficient_scope", scope="publish""#;
    assert_eq!(answer.header("www-authenticate"), Some(challenge));
    assert!(rig.outbox.bodies().is_empty());
}

#[tokio::test]
async fn the_right_token_is_let_in() {
    let rig = guarded().await;
    for path in READS {
        assert_eq!(read_as(&rig, path, &["authorization: bearer r-secret"]).await.status, 200, "{path}");
    }
    let answer = post_with(rig.addr, &["Authorization: Bearer p-secret"], job("a").to_string()).await;
    assert_eq!(answer.status, 202);
}

#[tokio::test]
async fn a_wrong_method_does_nothing_with_or_without_a_token() {
    let rig = guarded().await;
    for headers in [&[][..], &["Authorization: Bearer r-secret"]] {
        assert_eq!(call(rig.addr, "DELETE", "/jobs/known", headers).await.status, 405, "{headers:?}");
    }
}

#[tokio::test]
async fn an_empty_list_of_tokens_lets_nobody_in() {
    let access = Access::Tokens(Vec::new().into());
    let rig = start_with(Setup { access, ..Setup::default() }).await;
    assert_eq!(read_as(&rig, "/esp/status", &["Authorization: Bearer r-secret"]).await.status, 401);
}

#[tokio::test]
async fn an_order_needs_a_token_of_an_operator() {
    let rig = guarded().await;
    for (method, path, body) in ORDERS {
        for (headers, status, code) in [
            (&[][..], 401, "unauthorized"),
            (&["Authorization: Bearer wrong"], 401, "unauthorized"),
            (&["Authorization: Bearer p-secret"], 403, "forbidden"),
            (&["Authorization: Bearer r-secret"], 403, "forbidden"),
        ] {
            let answer = send(rig.addr, method, path, headers, body).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (status, code),
                "{method} {path} {headers:?}"
            );
        }
    }
    let view = rig.store.view();
    assert!(view.limit_edits.is_empty() && view.breakers.is_empty() && view.campaigns.is_empty());
    for (method, path, body) in ORDERS {
        let answer = send(rig.addr, method, path, &["Authorization: Bearer o-secret"], body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
        if method == "PUT" {
            assert_eq!(rig.store.view().limit_edits["esp:sandbox/per:s"].by, "operator");
        }
    }
}

#[tokio::test]
async fn without_tokens_a_page_with_a_name_of_its_own_gets_nothing() {
    let rig = start_with(Setup { access: Access::Local, ..Setup::default() }).await;
    let get_as = async |host: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        exchange(rig.addr, request.as_bytes()).await
    };
    for path in READS {
        let answer = get_as("evil.example:8025", path).await;
        assert_eq!((answer.status, answer.code().as_str()), (421, "wrong_host"), "{path}");
        assert_eq!(get_as(&rig.addr.to_string(), path).await.status, 200, "{path}");
        assert_eq!(get_as("localhost:8025", path).await.status, 200, "{path}");
    }
    for path in ["/health", "/ready", "/metrics", "/"] {
        assert_eq!(get_as("probe.example", path).await.status, 200, "{path}");
    }
}
