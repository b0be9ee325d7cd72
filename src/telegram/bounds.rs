//! Proof that the library, as it is patched (`vendor/README.md`), reads nothing that costs more stack
//! or memory than a link may.

use grammers_client::tl::deserialize::{Error, MAX_DEPTH, MAX_MEMORY};
use grammers_client::tl::{Deserializable, enums};
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

/// The first answer of a key exchange, which anybody in between can write.
fn pq(number: u64) -> Result<(), String> {
    use grammers_mtproto::authentication::{step1, step2};
    let (request, step) = step1().unwrap();
    let answer = grammers_client::tl::types::ResPq {
        nonce: request.nonce,
        server_nonce: [1; 16],
        pq: number.to_be_bytes().to_vec(),
        server_public_key_fingerprints: Vec::new(),
    };
    step2(step, answer.into()).map(drop).map_err(|error| error.to_string())
}

#[test]
fn a_number_that_cannot_be_split_is_not_searched_for_ever() {
    // The largest prime below 2^64, and others.
    for number in [0, 1, 2, 3, 18_446_744_073_709_551_557, 4_294_967_291] {
        assert!(pq(number).is_err_and(|error| error.contains("no product")), "{number}");
    }
    // The sample of the protocol's documents; no key of ours is among none.
    let split = pq(0x17ED_4894_1A08_F981);
    assert!(split.is_err_and(|error| !error.contains("no product")));
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
