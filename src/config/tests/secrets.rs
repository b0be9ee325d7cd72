//! Secrets in the configuration: where they come from, and that nothing shows them.

use super::*;

#[test]
fn secrets_may_come_from_files() {
    let folder = Folder::new();
    let hash = folder.write("hash", "0123456789abcdef\n");
    let url = folder.write("url", "amqp://u:p@127.0.0.1");
    let text = format!(
        "[telegram]\napi_hash_file = {:?}\n[bridge]\nurl_file = {:?}",
        hash.display().to_string(),
        url.display().to_string()
    );
    let config = folder.load(&text, &[]).unwrap();
    assert_eq!(config.telegram.api_hash.unwrap().expose(), "0123456789abcdef");
    assert_eq!(config.bridge.url.expose(), "amqp://u:p@127.0.0.1");
    let config = folder.load(&text, &[("TELEGRAM_API_HASH", "newer")]).unwrap();
    assert_eq!(config.telegram.api_hash.unwrap().expose(), "newer");
}

#[test]
fn a_secret_given_twice_in_one_source_or_from_a_bad_file_is_refused() {
    let folder = Folder::new();
    let both = "[telegram]\napi_hash = \"x\"\napi_hash_file = \"/nowhere\"";
    let found = complaints(folder.load(both, &[]));
    assert_eq!(
        found,
        ["both telegram.api_hash and telegram.api_hash_file are given; keep one of them"]
    );
    let missing = "[telegram]\napi_hash_file = \"/nowhere\"";
    let found = complaints(folder.load(missing, &[]));
    assert_eq!(
        found,
        [
            "telegram.api_hash_file names /nowhere: there is no such file; make it, or name another one"
        ]
    );
    let empty = folder.write("empty", "\n").display().to_string();
    let found = complaints(folder.load("", &[("TELEWARDEN__BRIDGE__URL_FILE", &empty)]));
    assert_eq!(found, [format!("bridge.url_file names {empty}: the file is empty")]);
}

#[test]
fn secrets_are_never_shown() {
    let secret = "s3cret-word";
    let config = from_variables(&[
        ("TELEGRAM_API_HASH", secret),
        ("RABBITMQ_URL", "amqp://user:s3cret-word@far.example"),
        ("TELEWARDEN__PARSING__URL", "https://s3cret-word@far.example"),
    ])
    .unwrap();
    assert!(!format!("{config:?}").contains(secret));
    assert!(!advice(&config).join("\n").contains(secret));
    let error = from_variables(&[
        ("RABBITMQ_URL", "http://s3cret-word"),
        ("TELEWARDEN__PARSING__URL", "s3cret-word"),
    ]);
    let error = error.unwrap_err();
    assert_eq!(error.0.len(), 2);
    assert!(!error.to_string().contains(secret));
    assert!(!format!("{error:?}").contains(secret));
}

#[test]
fn the_key_lies_in_the_store_unless_told_otherwise() {
    let config = from_text("[store]\npath = \"/var/lib/telewarden\"").unwrap();
    assert_eq!(config.key_file(), Path::new("/var/lib/telewarden/key"));
    let config = from_text("[secrets]\nkey_file = \"/etc/key\"").unwrap();
    assert_eq!(config.key_file(), Path::new("/etc/key"));
}

#[test]
fn the_secret_of_tokens_is_long_and_never_shown() {
    let secret = "swordfish-swordfish-swordfish-32";
    let config = from_variables(&[("TELEWARDEN__AUTH__JWT_SECRET", secret)]).unwrap();
    assert_eq!(config.auth.jwt_secret.as_ref().unwrap().expose(), secret);
    assert!(!format!("{config:?}").contains("swordfish"));
    let short = from_variables(&[("TELEWARDEN__AUTH__JWT_SECRET", "swordfish")]).unwrap_err();
    let short = short.to_string();
    assert!(short.contains("at least 32 bytes") && !short.contains("swordfish"), "{short}");
    let folder = Folder::new();
    let path = folder.write("jwt", &format!("{secret}\n"));
    let file = path.display().to_string();
    let load = || folder.load("", &[("TELEWARDEN__AUTH__JWT_SECRET_FILE", &file)]);
    mode(&path, 0o600);
    assert_eq!(load().unwrap().auth.jwt_secret.unwrap().expose(), secret);
    for open in [0o640, 0o604] {
        mode(&path, open);
        let refused = load().unwrap_err().to_string();
        assert!(refused.contains("auth.jwt_secret_file"), "{refused}");
        assert!(refused.contains(&format!("can be read by others (mode {open:04o})")), "{refused}");
        assert!(refused.contains("chmod 600") && !refused.contains("swordfish"), "{refused}");
    }
}

#[test]
fn the_broker_address_comes_without_credentials() {
    let of = |url| broker_address(url).unwrap();
    assert_eq!(of("amqp://u:p@host:1234/%2f"), ("host".to_owned(), 1234));
    assert_eq!(of("amqps://u:p%40x@host"), ("host".to_owned(), 5671));
    assert_eq!(of("amqp://[::1]:5/x?heartbeat=10"), ("::1".to_owned(), 5));
    assert_eq!(of("amqp://[::1]"), ("::1".to_owned(), 5672));
    assert_eq!(broker_address("amqp://u:p@"), None);
}

#[test]
fn a_broker_password_that_is_not_escaped_is_refused_at_once_and_not_shown() {
    let folder = Folder::new();
    for password in ["se/cret", "1/cret", "se#cret", "se?cret", "se@cret/x@"] {
        let text = format!("[bridge]\nurl = \"amqp://user:{password}@host/%2f\"");
        let refused = folder.load(&text, &[]).unwrap_err().to_string();
        assert!(refused.contains("bridge.url") && refused.contains("%2F"), "{refused}");
        assert!(!refused.contains("cret"), "{refused}");
    }
    let escaped = "[bridge]\nurl = \"amqp://user:se%2Fcret@host/%2f\"";
    assert!(folder.load(escaped, &[]).is_ok());
}
