//! Nothing that is printed shows a secret.

use secrecy::ExposeSecret;

use super::*;

#[test]
fn a_secret_comes_from_its_file_without_the_line_break() {
    let config = load(
        "[queue]\nkind = 'rabbitmq'\nurl_file = '/run/secrets/amqp'\n[store]\nkind = 'postgres'\nurl = 'postgres://x'\n\
         [[esp]]\nname = 'a'\nkind = 'sendgrid'\napi_key_file = '/run/secrets/sendgrid'",
    )
    .unwrap();
    assert_eq!(config.queue.url.as_ref().unwrap().expose_secret(), "amqps://user:hunter2@mq.example");
    assert_eq!(config.esps[0].api_key.as_ref().unwrap().expose_secret(), "SG.hunter2");
}

#[test]
fn debug_never_shows_a_secret() {
    let config = load(
        "[queue]\nkind = 'rabbitmq'\nurl = 'amqp://u:hunter2@mq.example'\n\
         [store]\nkind = 'postgres'\nurl = 'postgres://u:hunter2@db.example'\n\
         [[esp]]\nname = 'a'\nkind = 'sendgrid'\napi_key = 'hunter2'\n\
         [[esp]]\nname = 'b'\nkind = 'smtp'\nurl = 'smtps://u:hunter2@mail.example'",
    )
    .unwrap();
    assert!(!format!("{config:?}{config:#?}").contains("hunter2"));
}

#[test]
fn a_fault_never_shows_a_secret() {
    for text in [
        // Not TOML, on the very line of the secret.
        "[queue]\nurl = 'amqp://u:hunter2@mq.example",
        "[queue]\nurl = amqp://u:hunter2@mq.example",
        "[queue]\nurl = 'hunter2'\nurl = 'hunter2'",
        // Of the wrong kind, form or place.
        "[queue]\nurl = ['hunter2']",
        "[queue]\nurl = 'amqp://u:hunter2@mq.example'",
        "[queue]\nkind = 'rabbitmq'\nurl = 'http://u:hunter2@mq.example'",
        "[queue]\nkind = 'rabbitmq'\nurl = 'amqp://u:hunter2@'",
        "[store]\nkind = 'postgres'\nurl = 'host=db password=hunter2'",
        "[[esp]]\nname = 'a'\nkind = 'smtp'\nurl = 'smtp://u:hunter2@mail.example/x'",
        "[[esp]]\nname = 'a'\nkind = 'smtp'\nurl = 'smtp://u:hunter2@mail.example?tls=hunter2'",
        "[[esp]]\nname = 'a'\nkind = 'smtp'\napi_key = 'hunter2'\nurl = 'smtps://u:hunter2@mail.example:x'",
        "[[esp]]\nname = 'a'\nkind = 'sendgrid'\napi_key = 'x'\nbase_url = 'http://u:hunter2@api.example'",
        "[[esp]]\nname = 'a'\nkind = 'sendgrid'\napi_key = 'hunter2'\napi_key_file = '/run/secrets/sendgrid'",
        "[[http.token]]\nname = 'a'\nsha256 = 'hunter2'\nscopes = ['read']",
    ] {
        let faults = load(text).unwrap_err();
        assert!(!format!("{faults} {faults:?}").contains("hunter2"), "{faults}");
    }
}

#[test]
fn a_variable_with_a_secret_is_not_shown_either() {
    let overlay = [
        ("SLUICE__QUEUE__URL".to_owned(), "hunter2".to_owned()),
        ("SLUICE__QUEUE__DECLARE".to_owned(), "hunter2".to_owned()),
        ("SLUICE__ESP__9__API_KEY".to_owned(), "hunter2".to_owned()),
        ("SLUICE__ESP".to_owned(), "hunter2".to_owned()),
    ];
    let faults = Config::load("", &overlay, &files).unwrap_err();
    assert!(!format!("{faults} {faults:?}").contains("hunter2"), "{faults}");
}
