//! Seals and what they open.

use super::super::seal::*;
use super::super::*;

#[test]
fn a_seal_opens_only_with_its_key_in_its_place_and_unchanged() {
    let key = MasterKey::new(&[7; 32]);
    let sealed = key.seal(b"place", b"secret").unwrap();
    assert_eq!(key.open(b"place", &sealed).unwrap().as_slice(), b"secret");
    assert_eq!(key.open(b"other", &sealed), Err(BrokenSeal));
    assert_eq!(MasterKey::new(&[8; 32]).open(b"place", &sealed), Err(BrokenSeal));
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(key.open(b"place", &changed), Err(BrokenSeal), "byte {at}");
        assert_eq!(key.open(b"place", &sealed[..at]), Err(BrokenSeal), "cut at {at}");
    }
}

#[test]
fn the_same_secret_never_looks_the_same_twice() {
    let key = MasterKey::new(&[7; 32]);
    assert_ne!(key.seal(b"place", b"secret").unwrap(), key.seal(b"place", b"secret").unwrap());
}

#[test]
fn a_record_that_is_wrapped_anew_opens_with_the_new_key_only() {
    let (old, new) = (MasterKey::new(&[7; 32]), MasterKey::new(&[8; 32]));
    let sealed = old.seal(b"place", b"secret").unwrap();
    let renewed = new.rewrap(&old, b"place", &sealed).unwrap().unwrap();
    assert_eq!(renewed.len(), sealed.len());
    assert_eq!(new.open(b"place", &renewed).unwrap().as_slice(), b"secret");
    assert_eq!(old.open(b"place", &renewed), Err(BrokenSeal));
    assert_eq!(new.open(b"other", &renewed), Err(BrokenSeal));
    let text = sealed.len() - b"secret".len() - TAG_LEN;
    assert_eq!(renewed[text..], sealed[text..], "only the wrapped data key changes");
    assert!(new.rewrap(&old, b"other", &sealed).unwrap().is_none());
    assert!(new.rewrap(&new, b"place", &sealed).unwrap().is_none());
}

#[test]
fn segments_of_an_earlier_opening_stay_readable() {
    let master = MasterKey::new(&[7; 32]);
    let (first, wrapped) = Keyring::new(&master, 1, b"d1").unwrap();
    let mut buffer = b"headbody".to_vec();
    first.seal_tail(42, b"place", &mut buffer, 4).unwrap();
    assert_eq!(&buffer[..4], b"head");
    let (mut second, _) = Keyring::new(&master, 2, b"d2").unwrap();
    assert_eq!(second.open(1, 42, b"place", &buffer[4..]), Err(BrokenSeal));
    second.add(&master, 1, b"d1", &wrapped).unwrap();
    assert_eq!(second.open(1, 42, b"place", &buffer[4..]).unwrap().as_slice(), b"body");
    assert_eq!(second.open(1, 43, b"place", &buffer[4..]), Err(BrokenSeal));
}
