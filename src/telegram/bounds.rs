//! Proof that the library, as it is patched (`vendor/README.md`), reads nothing that costs more stack
//! or memory than a link may.

use std::time::Duration;

use grammers_client::tl::deserialize::{Error, MAX_DEPTH, MAX_MEMORY};
use grammers_client::tl::{Deserializable, enums, functions, types};
use grammers_mtproto::authentication;
use proptest::prelude::*;

/// A worker of the runtime has 2 MiB, of which whatever calls the reader takes its part.
const STACK: usize = 3 * 512 * 1024;
/// As deep as anything that Telegram sends.
const DEEP_ENOUGH: usize = 32;

/// Reads on a stack of that size.
fn read<T: Deserializable + Send + 'static>(bytes: Vec<u8>) -> Result<T, Error> {
    let reader = move || T::from_bytes(&bytes);
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(reader).unwrap();
    thread.join().expect("it fits into the stack")
}

/// `deepest`, wrapped as often: before it stands the one, after it the other.
fn wrapped(times: usize, before: &[u8], deepest: &[u8], after: &[u8]) -> Vec<u8> {
    let mut bytes = before.repeat(times);
    bytes.extend(deepest);
    bytes.extend(after.repeat(times));
    bytes
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

const VECTOR: u32 = 0x1cb5_c415;

/// A block of a page in another, so often.
fn blocks(times: usize) -> Vec<u8> {
    let details = bytes(&[0x7676_8bed, 0, VECTOR, 1]);
    let (unsupported, empty) = (bytes(&[0x1356_7e8a]), bytes(&[0xdc3d_824f]));
    wrapped(times, &details, &unsupported, &empty)
}

#[test]
fn what_lies_too_deep_is_not_read_and_what_may_be_fits_into_the_stack() {
    assert!(read::<enums::PageBlock>(blocks(DEEP_ENOUGH)).is_ok());
    // How much a level takes is the compiler's affair: the stack holds in any case.
    for times in DEEP_ENOUGH..MAX_DEPTH {
        let read = read::<enums::PageBlock>(blocks(times));
        assert!(read.is_ok() || read.err() == Some(Error::TooDeep), "{times}");
    }
    for times in [MAX_DEPTH, 1_500, 40_000] {
        assert_eq!(read::<enums::PageBlock>(blocks(times)).err(), Some(Error::TooDeep));
    }
}

#[test]
fn every_way_into_itself_is_bounded() {
    // `textBold` in `textBold`, `textEmpty` within.
    let bold = bytes(&[0x6724_abc4]);
    let empty = bytes(&[0xdc3d_824f]);
    let texts = wrapped(5_000, &bold, &empty, &[]);
    assert_eq!(read::<enums::RichText>(texts).err(), Some(Error::TooDeep));
    // `jsonArray` in `jsonArray`, `jsonNull` within.
    let array = bytes(&[0xf744_4763, VECTOR, 1]);
    let values = wrapped(5_000, &array, &bytes(&[0x3f6d_7b68]), &[]);
    assert_eq!(read::<enums::Jsonvalue>(values).err(), Some(Error::TooDeep));
}

#[test]
fn what_would_take_too_much_memory_is_not_read() {
    let count = 250_000;
    // `updateConfig`.
    let config = 0xa229_dd06;
    let mut crowd = bytes(&[VECTOR, count]);
    crowd.extend(bytes(&[config]).repeat(count as usize));
    assert!(crowd.len() < 1024 * 1024 + 16);
    assert!(size_of::<enums::Update>() * count as usize > MAX_MEMORY);
    assert_eq!(read::<Vec<enums::Update>>(crowd).err(), Some(Error::TooLarge));
    // Some thousand are no more than a difference may hold.
    let mut some = bytes(&[VECTOR, 5_000]);
    some.extend(bytes(&[config]).repeat(5_000));
    assert_eq!(read::<Vec<enums::Update>>(some).map(|updates| updates.len()), Ok(5_000));
}

#[test]
fn a_length_is_not_believed() {
    assert_eq!(
        read::<Vec<enums::Update>>(bytes(&[VECTOR, u32::MAX])).err(),
        Some(Error::UnexpectedEof)
    );
    assert_eq!(read::<Vec<u8>>(vec![254, 255, 255, 255, 1]).err(), Some(Error::UnexpectedEof));
}

/// The sample of the protocol's documents.
const PQ: u64 = 0x17ED_4894_1A08_F981;
/// A key of Telegram's that the library knows.
const FINGERPRINT: i64 = -3_414_540_481_677_951_611;

/// The library's answer to the first answer of a key exchange, which anybody in between can write.
fn pq(
    number: u64,
    keys: &[i64],
) -> Result<(functions::ReqDhParams, authentication::Step2), authentication::Error> {
    let (request, step) = authentication::step1().unwrap();
    let answer = types::ResPq {
        nonce: request.nonce,
        server_nonce: [1; 16],
        pq: number.to_be_bytes().to_vec(),
        server_public_key_fingerprints: keys.to_vec(),
    };
    authentication::step2(step, answer.into())
}

/// `work` on a thread of its own: should it never end, the test does.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    result.recv_timeout(Duration::from_secs(60)).expect("it ends, and without a panic")
}

/// With 9 the library's search never ended, and 15, 21, 33, 35 and 91 were panics.
#[test]
fn no_number_is_searched_for_factors_for_ever() {
    // Primes; squares of primes, of which one is above the largest signed number; cubes; even ones; what
    // is too large.
    let special = [
        18_446_744_073_709_551_557,
        4_294_967_291,
        (1 << 61) - 1,
        65_537 * 65_537,
        1_000_003 * 1_000_003,
        3_037_000_493 * 3_037_000_493,
        4_294_967_291 * 4_294_967_291,
        2_097_143 * 2_097_143 * 2_097_143,
        1 << 33,
        1 << 62,
        2 * 4_294_967_291,
        4_294_967_291 * 4_294_967_279,
        u64::MAX,
    ];
    let unsplit = in_time(move || {
        let numbers = (0..=10_000).chain((1 << 32) - 16..=1 << 32).chain(special);
        let is_refused =
            |number: &u64| matches!(pq(*number, &[]), Err(authentication::Error::UnsplittablePq));
        numbers.filter(|number| !is_refused(number)).collect::<Vec<_>>()
    });
    // The cube is a product, though of no two primes.
    assert_eq!(unsplit, [2_097_143 * 2_097_143 * 2_097_143]);
}

#[test]
fn what_telegram_sends_is_split() {
    let known = in_time(|| pq(PQ, &[FINGERPRINT]));
    let (request, _) = known.unwrap_or_else(|_| panic!("it is split"));
    assert_eq!(request.p, 0x494C_553B_u32.to_be_bytes());
    assert_eq!(request.q, 0x5391_1073_u32.to_be_bytes());
    // None of its keys is ours.
    let unknown = pq(PQ, &[]);
    assert!(matches!(unknown, Err(authentication::Error::UnknownFingerprints { .. })));
}

/// What was too short for its own hash was a panic.
#[test]
fn the_second_answer_of_a_key_exchange_may_be_of_any_length() {
    for length in (0..64).chain([4_096]) {
        let (request, step) = pq(PQ, &[FINGERPRINT]).unwrap_or_else(|_| panic!("it is split"));
        let answer = types::ServerDhParamsOk {
            nonce: request.nonce,
            server_nonce: request.server_nonce,
            encrypted_answer: vec![7; length],
        };
        assert!(authentication::step3(step, answer.into()).is_err(), "{length}");
    }
}

/// Constructors with others of their kind in them, and whatever else may stand between.
fn word() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(VECTOR),
        Just(1),
        Just(0),
        Just(u32::MAX),
        Just(0x7676_8bed),
        Just(0xe6e_47c4),
        Just(0xdc3d_824f),
        Just(0x1356_7e8a),
        Just(0x7f89_1213),
        Just(0x78d4_dec1),
        Just(0x74ae_4240),
        Just(0xf744_4763),
        any::<u32>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_that_is_read_panics(words in prop::collection::vec(word(), 0..160)) {
        let noise = bytes(&words);
        let _ = enums::Updates::from_bytes(&noise);
        let _ = enums::updates::Difference::from_bytes(&noise);
        let _ = enums::PageBlock::from_bytes(&noise);
        let _ = enums::messages::Messages::from_bytes(&noise);
    }
}
