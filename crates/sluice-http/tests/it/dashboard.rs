//! The dashboard, as a browser gets it.

use sluice_http::Access;

use crate::client::get;
use crate::rig::{Setup, start_with};

#[tokio::test]
async fn the_page_is_there_for_anybody_and_trusts_nothing_but_itself() {
    let rig = start_with(Setup { access: Access::Tokens(Vec::new().into()), ..Setup::default() }).await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/dashboard.js", "text/javascript; charset=utf-8"),
        ("/dashboard.css", "text/css; charset=utf-8"),
    ] {
        let answer = get(rig.addr, path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    assert_eq!(get(rig.addr, "/system/status").await.status, 401, "what it shows needs the token");
}
