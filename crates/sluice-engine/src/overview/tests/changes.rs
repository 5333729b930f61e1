//! Limits, breakers and campaigns changed by an operator.

use super::*;

fn at() -> Timestamp {
    Timestamp::parse("2026-11-24T12:00:00Z").unwrap()
}

async fn set(overview: &Overview, key: &str, spec: Option<&str>) -> Result<LimitChange, OverviewError> {
    overview.set_limit(key, spec, "ada", at()).await
}

fn change(key: &str, before: Option<&str>, after: Option<&str>) -> LimitChange {
    LimitChange { key: key.to_owned(), before: before.map(str::to_owned), after: after.map(str::to_owned) }
}

async fn spec_of(overview: &Overview, key: &str) -> Option<String> {
    overview.rate_limits().await.unwrap().limits.into_iter().find(|it| it.key == key)?.spec
}

#[tokio::test]
async fn a_limit_is_set_and_set_back() {
    let overview = overview(TWO_ESPS, &Store::new());
    for (key, spec, becomes) in [
        ("esp:main/per:s", "70/s burst 90", change("esp:main/per:s", Some("100/s"), Some("70/s burst 90"))),
        // The scope alone, where the window tells which limit is meant.
        ("esp:main", "50/s", change("esp:main/per:s", Some("70/s burst 90"), Some("50/s"))),
        ("esp:main", "40000/h", change("esp:main/per:h", Some("50000/h"), Some("40000/h"))),
        (
            "esp:main",
            "3 connections",
            change("esp:main/connections", Some("10 connections"), Some("3 connections")),
        ),
        // Another word for the same window.
        ("tenant:acme/per:1s", "9/s", change("tenant:acme/per:s", Some("10/s burst 20"), Some("9/s"))),
        ("esp:spare/group:gmail", "1/s", change("esp:spare/group:gmail/per:s", Some("20/s"), Some("1/s"))),
        // Windows that the scope had no limit for.
        ("esp:spare", "7/min", change("esp:spare/per:min", None, Some("7/min"))),
        (
            "esp:spare/group:gmail",
            "2 connections",
            change("esp:spare/group:gmail/connections", None, Some("2 connections")),
        ),
        (
            "tenant:newcomer",
            "1/day calendar",
            change("tenant:newcomer/per:day:calendar", None, Some("1/day calendar")),
        ),
        // A single domain has that of its group until then.
        ("domain:Slow.Example", "1/s", change("domain:slow.example/per:s", Some("5/s"), Some("1/s"))),
    ] {
        assert_eq!(set(&overview, key, Some(spec)).await.unwrap(), becomes, "{key} {spec}");
        assert_eq!(spec_of(&overview, &becomes.key).await, becomes.after, "{key} {spec}");
        // Once more it changes nothing.
        let again = LimitChange { before: becomes.after.clone(), ..becomes };
        assert_eq!(set(&overview, key, Some(spec)).await.unwrap(), again, "{key} {spec}");
    }
    for (key, becomes) in [
        ("esp:main/per:s", change("esp:main/per:s", Some("50/s"), Some("100/s"))),
        ("tenant:acme", change("tenant:acme/per:s", Some("9/s"), Some("10/s burst 20"))),
        ("esp:spare", change("esp:spare/per:min", Some("7/min"), None)),
        ("domain:slow.example", change("domain:slow.example/per:s", Some("1/s"), Some("5/s"))),
    ] {
        assert_eq!(set(&overview, key, None).await.unwrap(), becomes, "{key}");
        assert!(matches!(set(&overview, key, None).await, Err(OverviewError::NotSet { .. })), "{key}");
    }
    assert_eq!(spec_of(&overview, "esp:main/per:s").await.as_deref(), Some("100/s"));
    assert_eq!(spec_of(&overview, "esp:spare/per:min").await, None);
}

#[tokio::test]
async fn a_bad_edit_says_what_is_wrong_and_changes_nothing() {
    let overview = overview(TWO_ESPS, &Store::new());
    for (key, spec, text) in [
        (
            "",
            "1/s",
            r#""" is not whose limit it is; write it like "esp:NAME", "group:NAME", "esp:NAME/group:NAME", "tenant:NAME" or "domain:NAME", with or without its window, like "esp:main/per:s""#,
        ),
        (
            "main",
            "1/s",
            r#""main" is not whose limit it is; write it like "esp:NAME", "group:NAME", "esp:NAME/group:NAME", "tenant:NAME" or "domain:NAME", with or without its window, like "esp:main/per:s""#,
        ),
        (
            "planet:mars/per:s",
            "1/s",
            r#""planet:mars/per:s" is not whose limit it is; write it like "esp:NAME", "group:NAME", "esp:NAME/group:NAME", "tenant:NAME" or "domain:NAME", with or without its window, like "esp:main/per:s""#,
        ),
        (
            "esp:main/weekly",
            "1/s",
            r#""esp:main/weekly" ends with "weekly", which is no window; write it like "per:s", "per:h", "per:day:calendar" or "connections""#,
        ),
        (
            "esp:main/per:",
            "1/s",
            r#""esp:main/per:" ends with "per:", which is no window; write it like "per:s", "per:h", "per:day:calendar" or "connections""#,
        ),
        ("esp:mian", "1/s", "no ESP `mian` is configured; there are: main, spare"),
        ("esp:mian/per:s", "1/s", "no ESP `mian` is configured; there are: main, spare"),
        ("esp:mian/group:gmail", "1/s", "no ESP `mian` is configured; there are: main, spare"),
        ("group:gmial", "1/s", "no domain group `gmial` is configured; there are: gmail, other"),
        ("esp:main/group:gmial", "1/s", "no domain group `gmial` is configured; there are: gmail, other"),
        (
            "domain:gmail.com",
            "1/s",
            "`gmail.com` belongs to the domain group `gmail`; set a limit of \"group:gmail\"",
        ),
        ("domain:-x-", "1/s", "`-x-` is not a domain name"),
        (
            "esp:main/per:s",
            "fast",
            r#""fast" is not a limit; write it like "100/s", "100/s burst 200", "50000/h", "50000/day calendar" or "10 connections""#,
        ),
        (
            "esp:main",
            "0/s",
            r#""0/s" a limit of zero would stop everything; leave the pool or the ESP out instead"#,
        ),
        ("esp:main/per:s", "1/h", r#"the key "esp:main/per:s" is per s, the limit "1/h" is per h"#),
        (
            "esp:main/per:day",
            "1/day calendar",
            r#"the key "esp:main/per:day" is per day, the limit "1/day calendar" is per day calendar"#,
        ),
        (
            "esp:main/per:s",
            "3 connections",
            r#"the key "esp:main/per:s" is per s, the limit "3 connections" is connections"#,
        ),
        (
            "group:gmail",
            "3 connections",
            r#""3 connections" limits connections, which only an ESP has, and not "group:gmail""#,
        ),
        (
            "tenant:acme/connections",
            "3 connections",
            r#""3 connections" limits connections, which only an ESP has, and not "tenant:acme""#,
        ),
        (
            "esp:main/warm-up",
            "3/day",
            r#""esp:main/warm-up" is the cap of a warm-up, which the configuration alone sets"#,
        ),
    ] {
        let error = set(&overview, key, Some(spec)).await.unwrap_err();
        assert!(error.is_refusal());
        assert_eq!(error.to_string(), text, "{key} {spec}");
    }
    for (key, text) in [
        (
            "esp:main/per:s",
            r#""esp:main/per:s" was not set at run time, so there is nothing to go back from"#,
        ),
        ("esp:main", r#""esp:main" was not set at run time, so there is nothing to go back from"#),
        (
            "esp:main/warm-up",
            r#""esp:main/warm-up" is the cap of a warm-up, which the configuration alone sets"#,
        ),
    ] {
        assert_eq!(set(&overview, key, None).await.unwrap_err().to_string(), text, "{key}");
    }
    assert!(overview.rate_limits().await.unwrap().limits.iter().all(|it| it.edited_by.is_none()));
}

#[tokio::test]
async fn of_several_edits_of_a_scope_one_has_to_be_named() {
    let overview = overview(TWO_ESPS, &Store::new());
    for spec in ["1/s", "2/min", "3/h"] {
        set(&overview, "esp:main", Some(spec)).await.unwrap();
    }
    let error = set(&overview, "esp:main", None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "several limits of \"esp:main\" were set at run time; say which: esp:main/per:h, esp:main/per:min, esp:main/per:s"
    );
    set(&overview, "esp:main/per:min", None).await.unwrap();
}

#[tokio::test]
async fn an_edit_of_an_esp_that_is_gone_is_shown_and_can_be_taken_back() {
    let store = Store::new();
    set(&overview(TWO_ESPS, &store), "esp:spare", Some("1/s")).await.unwrap();
    let without = overview("[[esp]]\nname = 'main'\nkind = 'sandbox'", &store);
    let limits = without.rate_limits().await.unwrap().limits;
    let [it] = limits.as_slice() else { panic!("{limits:?}") };
    assert_eq!(
        (it.key.as_str(), it.kind, it.spec.as_deref()),
        ("esp:spare/per:s", LimitWord::Gone, Some("1/s"))
    );
    assert_eq!(it.edited_by.as_deref(), Some("ada"));
    assert_eq!(set(&without, "esp:spare", None).await.unwrap(), change("esp:spare/per:s", Some("1/s"), None));
    assert_eq!(without.rate_limits().await.unwrap().limits, []);
}

#[tokio::test]
async fn a_breaker_is_held_and_let_go() {
    let store = Store::new();
    let overview = overview(TWO_ESPS, &store);
    for (open, state, forced) in
        [(Some(true), "open", Some("open")), (Some(false), "closed", Some("closed")), (None, "closed", None)]
    {
        overview.order_breaker("main", open).await.unwrap();
        let esps = overview.esps().await.unwrap();
        assert_eq!((esps[0].breaker.state, esps[0].breaker.forced), (state, forced));
        assert_eq!(esps[0].breaker.open_for_ms, None);
    }
    let error = overview.order_breaker("mian", Some(true)).await.unwrap_err();
    assert_eq!(error.to_string(), "no ESP `mian` is configured; there are: main, spare");
    assert!(overview.order_breaker("mian", None).await.is_err());

    overview.order_breaker("spare", Some(true)).await.unwrap();
    let without = super::overview("[[esp]]\nname = 'main'\nkind = 'sandbox'", &store);
    without.order_breaker("spare", Some(false)).await.unwrap_err();
    without.order_breaker("spare", None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_campaign_order_waits_until_every_worker_has_asked() {
    let store = Store::new();
    let overview = overview(TWO_ESPS, &store);
    store.report(&worker("a", Presence::default()));
    store.report(&worker("b", Presence::default()));
    let began = tokio::time::Instant::now();
    let elapsed_ns = move || i64::try_from(began.elapsed().as_nanos()).unwrap();
    let (others, overview_of) = (Arc::clone(&store), overview.clone());
    let peers = async move {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            others.now_ns.store(NOON_NS + elapsed_ns(), Ordering::Relaxed);
            if elapsed_ns() > SECOND_NS / 2 {
                others.report(&worker("a", Presence::default()));
            }
            if elapsed_ns() > SECOND_NS {
                others.report(&worker("b", Presence::default()));
            }
        }
    };
    tokio::select! {
        () = peers => {}
        done = overview_of.order_campaign("acme", "sale", Some(Order::Cancelled)) => done.unwrap(),
    }
    assert!((SECOND_NS..2 * SECOND_NS).contains(&elapsed_ns()), "{}", elapsed_ns());
    let campaigns = overview.system().await.unwrap().campaigns;
    assert_eq!(
        campaigns,
        [CampaignView { tenant: "acme".to_owned(), campaign: "sale".to_owned(), order: Order::Cancelled }]
    );

    // One that has gone away is not waited for, at least not for long.
    let began = tokio::time::Instant::now();
    overview.order_campaign("acme", "sale", None).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(overview.system().await.unwrap().campaigns.is_empty());

    for (tenant, campaign, text) in [
        ("", "sale", "the tenant \"\" must not be empty"),
        ("acme", "a b", "the campaign \"a b\" has a character outside A-Z a-z 0-9 . _ : @ + = -"),
    ] {
        let error = overview.order_campaign(tenant, campaign, None).await.unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_no_refusal() {
    let store = Store::new();
    let overview = overview(TWO_ESPS, &store);
    store.away.store(true, Ordering::Relaxed);
    let errors = [
        overview.rate_limits().await.unwrap_err(),
        overview.esps().await.unwrap_err(),
        overview.system().await.unwrap_err(),
        set(&overview, "esp:main", Some("1/s")).await.unwrap_err(),
        overview.order_breaker("main", Some(true)).await.unwrap_err(),
        overview.order_campaign("acme", "sale", None).await.unwrap_err(),
    ];
    for error in errors {
        assert!(!error.is_refusal(), "{error}");
    }
}
