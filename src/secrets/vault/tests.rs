//! The client against a Vault on loopback: what works, and what is said when it does not.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::fake::{FakeVault, Trouble};
use super::*;
use crate::config::{Config, ConfigFile, Sources};
use crate::protocol::values::ids::AuthKeyId;
use crate::protocol::values::secret::append;
use crate::secrets::freed::freed_with;
use crate::secrets::{choose, resolve};
use crate::store::{KeyOrigin, Op, RemoteRoot, Store, StoreError, StoreOptions};

fn root(vault: &FakeVault) -> VaultRoot {
    VaultRoot::of(&vault.config()).unwrap().unwrap()
}

fn told(outcome: Result<impl Sized, impl std::fmt::Display>) -> String {
    match outcome {
        Ok(_) => panic!("it worked"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn transit_gives_back_what_it_wrapped_and_the_login_is_kept() {
    let vault = FakeVault::start();
    let root = root(&vault);
    let wrapped = root.wrap(b"a key").unwrap();
    assert!(wrapped.starts_with(b"vault:v1:"));
    assert_eq!(root.unwrap(&wrapped).unwrap().as_slice(), b"a key");
    assert!(root.check().is_ok());
    assert_eq!(vault.books().logins, 1);
}

#[test]
fn a_plain_key_leaves_no_copy_in_memory_of_ours() {
    const KEY: &str = "swordfish-swordfish-swordfish-32";
    // The same as base64.
    const TEXT: &str = "c3dvcmRmaXNoLXN3b3JkZmlzaC1zd29yZGZpc2gtMzI=";
    #[derive(Deserialize)]
    struct Plaintext {
        plaintext: SecretText,
    }
    let work = || {
        let text = encode(KEY.as_bytes());
        assert_eq!(text.as_str(), TEXT);
        let body = client::Body::of(&BTreeMap::from([("plaintext", text.as_str())])).unwrap();
        drop((text, body));
        // An answer that comes in parts.
        let (head, tail) = (b"{\"data\":{\"plaintext\":\"".as_slice(), b"\"}}".as_slice());
        let mut answer = Zeroizing::new(Vec::new());
        for part in [head, TEXT.as_bytes(), tail] {
            append(&mut answer, part);
        }
        let read: Answer<Plaintext> = serde_json::from_slice(&answer).unwrap();
        let plain = decode(read.data.plaintext.expose()).unwrap();
        assert_eq!(plain.as_slice(), KEY.as_bytes());
        drop((plain, read));
        assert!(decode(&TEXT[..TEXT.len() - 2]).is_none(), "it breaks off");
        let fields: BTreeMap<String, Field> =
            serde_json::from_slice(&answer[8..answer.len() - 1]).unwrap();
        drop((fields, answer));
    };
    assert_eq!((freed_with(KEY, work), freed_with(TEXT, work)), (0, 0));
}

#[test]
fn a_call_can_be_made_from_inside_of_a_runtime_too() {
    let vault = FakeVault::start();
    let root = root(&vault);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { assert!(root.check().is_ok()) });
}

#[test]
fn a_token_that_was_revoked_is_followed_by_a_login() {
    let vault = FakeVault::start();
    let root = root(&vault);
    let wrapped = root.wrap(b"a key").unwrap();
    vault.revoke_all_tokens();
    assert_eq!(root.unwrap(&wrapped).unwrap().as_slice(), b"a key");
    assert_eq!(vault.books().logins, 2);
}

#[test]
fn a_token_is_renewed_before_its_end_and_replaced_at_it() {
    let vault = FakeVault::start();
    vault.books().token_ttl = Duration::from_secs(1);
    let root = root(&vault);
    assert!(root.check().is_ok());
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while vault.books().renewals == 0 {
        assert!(root.check().is_ok());
        assert!(tokio::time::Instant::now() < until, "it was never renewed");
        std::thread::sleep(Duration::from_millis(20));
    }
    vault.books().is_renewable = false;
    let logins = vault.books().logins;
    while vault.books().logins == logins {
        assert!(root.check().is_ok());
        assert!(tokio::time::Instant::now() < until, "it never logged in again");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_secret_id_that_is_wrapped_is_unwrapped_once_for_all_and_theft_is_told() {
    let vault = FakeVault::start();
    let mut config = vault.config();
    config.secret_id = Some(SecretText::new(vault.wrapped_secret_id(2)));
    config.secret_id_wrapped = true;
    for _ in 0..2 {
        let root = VaultRoot::of(&config).unwrap().unwrap();
        assert!(root.is_spent_by_asking());
        assert!(root.wrap(b"a key").is_ok());
    }
    let error = told(VaultRoot::of(&config).unwrap().unwrap().wrap(b"a key"));
    assert!(error.contains("used up"), "{error}");
    config.secret_id = Some(SecretText::new("hvs.stolen".into()));
    let error = told(VaultRoot::of(&config).unwrap().unwrap().wrap(b"a key"));
    assert!(error.contains("somebody else has"), "{error}");
}

#[test]
fn every_trouble_is_told_with_what_to_do_and_without_a_secret() {
    let vault = FakeVault::start();
    let root = root(&vault);
    for (trouble, expected) in [
        (Trouble::Sealed, "unseal it"),
        (Trouble::Busy, "too much to do"),
        (Trouble::Garbage, "not one of Vault's"),
        (Trouble::Standby, "active node"),
    ] {
        vault.books().trouble = Some(trouble);
        let error = told(root.wrap(b"a key"));
        assert!(error.contains(expected), "{trouble:?}: {error}");
        assert!(!error.contains("the-secret"), "{error}");
    }
    vault.books().trouble = None;
    vault.books().forbidden = vec!["transit/encrypt".into()];
    let error = told(root.wrap(b"a key"));
    assert!(error.contains("does not allow transit/encrypt/telewarden"), "{error}");
    vault.books().forbidden.clear();
    assert!(root.unwrap(b"vault:v1:AAAA").is_err() && root.unwrap(&[0xff]).is_err());
    let other = {
        vault.add_transit_key("other");
        let mut config = vault.config();
        config.transit_key = Some("other".into());
        VaultRoot::of(&config).unwrap().unwrap().wrap(b"a key").unwrap()
    };
    assert!(told(root.unwrap(&other)).contains("message authentication failed"));

    vault.books().secret_ids.clear();
    vault.revoke_all_tokens();
    let error = told(root.wrap(b"a key"));
    assert!(error.contains("refused the login (invalid role or secret ID)"), "{error}");
    let mut config = vault.config();
    drop(vault);
    let error = told(VaultRoot::of(&config).unwrap().unwrap().wrap(b"a key"));
    assert!(error.contains("does not answer"), "{error}");
    config.ca_file = Some("/nowhere/ca.pem".into());
    let error = told(VaultRoot::of(&config));
    assert!(error.contains("/nowhere/ca.pem"), "{error}");
}

#[tokio::test]
async fn a_vault_that_takes_too_long_holds_nobody_up_for_ever() {
    let vault = FakeVault::start();
    vault.books().trouble = Some(Trouble::Slow(Duration::from_secs(600)));
    let mut config = vault.config();
    config.transit_key = None;
    let client = client::Client::with_patience(&config, Duration::from_millis(100)).unwrap();
    let asked = client.ask::<serde_json::Value>("secret/data/x", None, None);
    let asked = tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap();
    let error = told(asked);
    assert!(error.contains("takes too long"), "{error}");
}

fn credentials() -> crate::protocol::accounts::record::Credentials {
    crate::protocol::accounts::record::Credentials {
        account: AuthKeyId(1),
        dc_id: 2,
        auth_key: crate::protocol::values::secret::AuthKey::new([7; 256]),
    }
}

#[tokio::test]
async fn a_store_under_vault_needs_it_at_the_start_and_follows_its_key_versions() {
    let vault = FakeVault::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.secrets.vault = vault.config();
    let options = || {
        let mut options = StoreOptions::new(folder.path().join("state"));
        options.key = choose(&config).unwrap().key;
        options
    };
    let (store, outbox) = Store::open(options()).unwrap();
    store.commit(vec![Op::PutCredentials(credentials())]).await.unwrap();
    assert!(!folder.path().join("state/key").exists(), "no key lies beside the store");
    let requests = vault.books().requests;
    vault.books().trouble = Some(Trouble::Sealed);
    assert_eq!(store.credentials(AuthKeyId(1)).unwrap(), Some(credentials()));
    assert!(told(store.rotate_key().await).contains("unseal it"));
    assert!(vault.books().requests > requests);
    vault.books().trouble = None;
    vault.rotate_transit_key("telewarden");
    store.rotate_key().await.unwrap();
    vault.rotate_transit_key("telewarden");
    let status = store.key_status().unwrap();
    assert!(status.provider.starts_with("Vault's Transit key transit/telewarden"));
    store.close().await.unwrap();
    drop(outbox);

    vault.books().trouble = Some(Trouble::Sealed);
    let refused = Store::open(options()).err().unwrap();
    assert!(matches!(&refused, StoreError::Root { .. }), "{refused}");
    assert!(refused.to_string().contains("unseal it"), "{refused}");
    vault.books().trouble = None;
    let (store, outbox) = Store::open(options()).unwrap();
    assert_eq!(store.credentials(AuthKeyId(1)).unwrap(), Some(credentials()));
    store.rotate_key().await.unwrap();
    store.close().await.unwrap();
    drop(outbox);

    vault.rotate_transit_key("telewarden");
    let (store, outbox) = Store::open(options()).unwrap();
    store.rotate_key().await.unwrap();
    store.close().await.unwrap();
    drop(outbox);
    // Nothing is left that an older version wraps.
    vault.books().forbid_older_versions("telewarden");
    let (store, _outbox) = Store::open(options()).unwrap();
    assert_eq!(store.credentials(AuthKeyId(1)).unwrap(), Some(credentials()));
    let root: Arc<dyn RemoteRoot> = Arc::new(root(&vault));
    assert!(KeyOrigin::Remote(root).check().is_ok());
}

fn configured(vault: &FakeVault, text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    let file = ConfigFile::Required(path);
    let mut config = Config::load(&Sources { file, ..Sources::default() }).unwrap();
    config.secrets.vault = vault.config();
    config
}

const ADDRESS: &str = "[secrets.vault]\naddress = \"https://vault.example\"\n";

#[test]
fn references_are_read_from_kv_and_put_in_place() {
    let vault = FakeVault::start();
    let secret = json!({ "url": "amqp://user:hidden@host/%2f", "hash": "0123", "port": 5 });
    vault.put_secret("secret/telewarden/all", Some(secret));
    let text = format!(
        "{ADDRESS}[bridge]\nurl = \"vault:secret/telewarden/all#url\"\n\
         [telegram]\napi_hash = \"vault:secret/telewarden/all#hash\""
    );
    let mut config = configured(&vault, &text);
    assert_eq!(config.references.len(), 2);
    resolve(&mut config).unwrap();
    assert_eq!(config.bridge.url.expose(), "amqp://user:hidden@host/%2f");
    assert_eq!(config.telegram.api_hash.as_ref().unwrap().expose(), "0123");
    assert!(config.references.is_empty());
    assert!(!format!("{config:?}").contains("hidden"));
    assert_eq!(vault.books().logins, 1);
    assert_eq!(vault.books().requests, 2, "one login, and one reading for both");
}

#[test]
fn references_that_lead_nowhere_are_all_told_and_show_nothing() {
    let vault = FakeVault::start();
    vault.put_secret("secret/here", Some(json!({ "url": "http://s3cret", "port": 5 })));
    vault.put_secret("secret/gone", None);
    let text = format!(
        "{ADDRESS}[bridge]\nurl = \"vault:secret/here#url\"\n\
         [telegram]\napi_hash = \"vault:secret/gone#hash\"\n\
         [parsing]\nurl = \"vault:secret/here#port\""
    );
    let error = told(resolve(&mut configured(&vault, &text)));
    for expected in [
        "bridge.url (from Vault) is not shown; expected an address",
        "vault:secret/gone#hash was not read: Vault has nothing at secret/data/gone",
        "no text in a field of that name",
    ] {
        assert!(error.contains(expected), "{expected} is not in {error}");
    }
    assert!(!error.contains("s3cret"), "{error}");
}
