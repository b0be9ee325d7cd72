//! The published sample (<https://core.telegram.org/mtproto/samples-auth_key>, of 2013) as far as it
//! still holds, a server that lies, and the simulator.
//!
//! Of the sample these are taken: the server's number and its factors, the key and its fingerprint
//! (in the modules beside this one), the opening of the server's half, our half, the key, and the
//! proof. Not taken: the first request, which was `req_pq` then, and the sealing of the secret,
//! whose padding has changed since. Its generator 2 does not fit its prime; servers use 3 today.

use grammers_crypto::hex;
use proptest::prelude::*;
use telewarden_simulator::{Options, Simulator};

use super::*;
use crate::clock::Clock;

const NONCE: &str = "3e0549828cca27e966b301a48fece2fc";
const SERVER_NONCE: &str = "a5cf4d33f4a11ea877ba4aa573907330";
const NEW_NONCE: &str = "311c85db234aa2640afc4a76a735cf5b1f0fd68bd17fa181e1229ad867cc024d";
const ENCRYPTED_ANSWER: &str = "\
28a92fe20173b347a8bb324b5fab2667c9a8bbce6468d5b509a4cbddc186240ac912cf7006af8926de606a2e74c0493c\
aa57741e6c82451f54d3e068f5ccc49b4444124b9666ffb405aab564a3d01e67f6e912867c8d20d9882707dc330b17b4\
e0dd57cb53bfaafa9ef5be76ae6c1b9b6c51e2d6502a47c883095c46c81e3be25f62427b585488bb3bf239213bf48eb8\
fe34c9a026cc8413934043974db03556633038392cecb51f94824e140b98637730a4be79a8f9dafa39bae81e1095849e\
a4c83467c92a3a17d997817c8a7ac61c3ff414da37b7d66e949c0aec858f048224210fcc61f11c3a910b431ccbd104cc\
cc8dc6d29d4a5d133be639a4c32bbff153e63aca3ac52f2e4709b8ae01844b142c1ee89d075d64f69a399feb04e656fe\
3675a6f8f412078f3d0b58da15311c1a9f8e53b3cd6bb5572c294904b726d0be337e2e21977da26dd6e33270251c2ca2\
9dfcc70227f0755f84cfda9ac4b8dd5f84f1d1eb36ba45cddc70444d8c213e4bd8f63b8ab95a2d0b4180dc91283dc063\
acfb92d6a4e407cde7c8c69689f77a007441d4a6a8384b666502d9b77fc68b5b43cc607e60a146223e110fcb43bc3c94\
2ef981930cdc4a1d310c0b64d5e55d308d863251ab90502c3e46cc599e886a927cda963b9eb16ce62603b68529ee98f9\
f5206419e03fb458ec4bd9454aa8f6ba777573cc54b328895b1df25ead9fb4cd5198ee022b2b81f388d281d5e5bc5801\
07ca01a50665c32b552715f335fd76264fad00ddd5ae45b94832ac79ce7c511d194bc42b70efa850bb15c2012c5215ca\
bfe97ce66b8d8734d0ee759a638af013";
const SECRET: &str = "\
6f620afa575c9233eb4c014110a7bcaf49464f798a18a0981fea1e05e8da67d9681e0fd6df0edf0272ae3492451a8450\
2f2efc0da18741a5fb80bd82296919a70faa6d07cbbbca2037ea7d3e327b61d585ed3373ee0553a91cbd29b01fa9a89d\
479ca53d57bde3a76fbd922a923a0a38b922c1d0701f53ff52d7ea9217080163a64901e766eb6a0f20bc391b64b9d1dd\
2cd13a7d0c946a3a7df8cec9e2236446f646c42cfe2b60a2a8d776e56c8d7519b08b88ed0970e10d12a8c9e355d765f2\
b7bbb7b4ca9360083435523cb0d57d2b106fd14f94b4eee79d8ac131ca56ad389c84fe279716f8124a543337fb9ea3d9\
88ec5fa63d90a4ba3970e7a39e5c0de5";
const OUR_HALF: &str = "\
73700e7bfc7aeec828eb8e0dcc04d09a0dd56a1b4b35f72f0b55fce7db7ebb72d7c33c5d4aa59e1c74d09b01ae536b31\
8cfed436afdb15fe9eb4c70d7f0cb14e46dbbde9053a64304361eb358a9bb32e9d5c2843fe87248b89c3f066a7d5876d\
61657acc52b0d81cd683b2a0fa93e8adab20377877f3bc3369bbf57b10f5b589e65a9c27490f30a0c70ffcfd3453f5b3\
79c1b9727a573cffdca8d23c721b135b92e529b1cdd2f7abd4f34dac4be1eeaf60993dde8ed45890e4f47c26f2c0b2e0\
37bb502739c8824f2a99e2b1e7e416583417cc79a8807a4bdac6a5e9805d4f6186c37d66f6988c9f9c752896f3d34d25\
529263faf2670a09b2a59ce35264511f";
const KEY: &str = "\
ab96e207c631300986f30ef97df55e179e63c112675f0ce502ee76d74bbee6cbd1e95772818881e9f2ff54bd52c25878\
7474f6a7bea61eabe49d1d01d55f64fc07bc31685716ec8fb46feacf9502e42cfd6b9f45a08e90aa5c2b5933ac767cbe\
1cd50d8e64f89727ca4a1a5d32c0db80a9fcdbddd4f8d5a1e774198f1a4299f927c484feec395f29647e43c3243986f9\
3609e23538c21871df50e00070b3b6a8fa9bc15628e8b43ff977409a61ceec5a21cf7dfb5a4cc28f5257bc30cd8f2fb9\
2fbf21e28924065f50e0bbd5e11a420300e2c136b80e9826c6c5609b5371b7850aa628323b6422f3a94f6dfde4c3dc1e\
a60f7e11ee63122b3f39cbd1a8430157";
const PROOF: &str = "ccebc0217266e1edec7fb0a0eed6c220";
/// When the sample was made, by the server's clock.
const SAMPLE_TIME: i32 = 1_373_993_675;

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::from_hex(text).try_into().unwrap()
}

fn sample() -> AwaitParams {
    let nonces = Nonces { ours: bytes(NONCE), servers: bytes(SERVER_NONCE) };
    AwaitParams { nonces, new_nonce: Zeroizing::new(bytes(NEW_NONCE)) }
}

#[test]
fn the_published_sample_makes_its_key() {
    let state = sample();
    let inner = state.open(hex::from_hex(ENCRYPTED_ANSWER)).unwrap();
    assert_eq!((inner.nonce, inner.server_nonce), (bytes(NONCE), bytes(SERVER_NONCE)));
    assert_eq!((inner.g, inner.server_time), (2, SAMPLE_TIME));
    assert_eq!(hex::to_hex(&inner.dh_prime), KNOWN_PRIME);
    assert!(check_prime(&inner.dh_prime, inner.g).is_err());
    assert!(check_prime(&inner.dh_prime, 3).is_ok());

    let mut random = [7; DH_RANDOM];
    random[..256].copy_from_slice(&bytes::<256>(SECRET));
    let (request, state) = state.agree(&inner, &random, i64::from(SAMPLE_TIME) - 5).unwrap();
    let sealed = &mut request.encrypted_data.clone();
    let (key, iv) = generate_key_data_from_nonce(&bytes(SERVER_NONCE), &bytes(NEW_NONCE));
    aes::ige_decrypt(sealed, &key, &iv);
    let ClientDhInnerData::Data(ours) = ClientDhInnerData::from_bytes(&sealed[20..]).unwrap();
    assert_eq!(ours.g_b, hex::from_hex(OUR_HALF));
    assert_eq!(state.auth_key.expose(), &bytes::<256>(KEY));

    let made = state.finish(&proof(1, bytes(PROOF))).unwrap();
    assert_eq!(made.auth_key.expose(), &bytes::<256>(KEY));
    assert_eq!(made.time_offset, 5);
}

/// The conditions of <https://core.telegram.org/mtproto/auth_key>, point 5, without the slow one.
#[test]
fn the_known_prime_fits_the_generators_it_is_taken_with() {
    let prime = BigUint::from_bytes_be(&hex::from_hex(KNOWN_PRIME));
    let rest = |divisor: u32| (&prime % divisor).iter_u32_digits().next().unwrap();
    assert_eq!(prime.bits(), 2048);
    assert_eq!(rest(3), 2);
    assert!(matches!(rest(7), 3 | 5 | 6));
}

fn proof(number: u8, hash: [u8; 16]) -> SetClientDhParamsAnswer {
    let (nonce, server_nonce) = (bytes(NONCE), bytes(SERVER_NONCE));
    match number {
        1 => types::DhGenOk { nonce, server_nonce, new_nonce_hash1: hash }.into(),
        2 => types::DhGenRetry { nonce, server_nonce, new_nonce_hash2: hash }.into(),
        _ => types::DhGenFail { nonce, server_nonce, new_nonce_hash3: hash }.into(),
    }
}

fn awaiting_proof() -> AwaitProof {
    let AwaitParams { nonces, new_nonce } = sample();
    AwaitProof { nonces, new_nonce, auth_key: AuthKey::new(bytes(KEY)), time_offset: 0 }
}

#[test]
fn a_proof_that_is_not_ours_or_of_another_outcome_makes_no_key() {
    for number in 1..=3 {
        let error = awaiting_proof().finish(&proof(number, [1; 16])).unwrap_err();
        assert!(matches!(error, ExchangeError::Mismatch(_)), "{number}: {error}");
    }
    let auxiliary = Sha1::digest(bytes::<256>(KEY));
    for number in [2, 3] {
        let hash = tail_of_sha1(&[&bytes::<32>(NEW_NONCE), &[number], &auxiliary[..8]]);
        let error = awaiting_proof().finish(&proof(number, hash)).unwrap_err();
        assert!(matches!(error, ExchangeError::GivenUp), "{number}: {error}");
    }
    let mut other = awaiting_proof();
    other.nonces.servers = [0; 16];
    assert!(other.finish(&proof(1, bytes(PROOF))).is_err());
}

/// What a server that knows our secret would send.
fn half(change: impl FnOnce(&mut types::ServerDhInnerData)) -> ServerDhParams {
    let mut inner = types::ServerDhInnerData {
        nonce: bytes(NONCE),
        server_nonce: bytes(SERVER_NONCE),
        g: 3,
        dh_prime: hex::from_hex(KNOWN_PRIME),
        g_a: hex::from_hex(OUR_HALF),
        server_time: SAMPLE_TIME,
    };
    change(&mut inner);
    let inner = ServerDhInnerData::Data(inner).to_bytes();
    let mut sealed = [&Sha1::digest(&inner)[..], &inner].concat();
    sealed.resize(sealed.len().next_multiple_of(16), 0);
    seal(&mut sealed)
}

fn seal(plain: &mut [u8]) -> ServerDhParams {
    let (key, iv) = generate_key_data_from_nonce(&bytes(SERVER_NONCE), &bytes(NEW_NONCE));
    aes::ige_encrypt(plain, &key, &iv);
    let (nonce, server_nonce) = (bytes(NONCE), bytes(SERVER_NONCE));
    types::ServerDhParamsOk { nonce, server_nonce, encrypted_answer: plain.to_vec() }.into()
}

fn outcome(answer: ServerDhParams) -> Result<(), ExchangeError> {
    sample().proceed(answer, &[9; DH_RANDOM], 0).map(drop)
}

#[test]
fn weak_or_foreign_halves_are_refused() {
    assert!(outcome(half(|_| {})).is_ok());
    let prime = || BigUint::from_bytes_be(&hex::from_hex(KNOWN_PRIME));
    for g_a in [BigUint::from(1_u32), prime() - 1_u32, BigUint::from(1_u32) << 1983, prime()] {
        let error = outcome(half(|inner| inner.g_a = g_a.to_bytes_be())).unwrap_err();
        assert!(matches!(error, ExchangeError::Unsafe(_)), "{error}");
    }
    for g in [-3, 0, 1, 2, 5, 6, 8, i32::MIN] {
        let error = outcome(half(|inner| inner.g = g)).unwrap_err();
        assert!(matches!(error, ExchangeError::Unsafe(_)), "{g}: {error}");
    }
    for dh_prime in [Vec::new(), vec![0; 256], vec![255; 256], vec![0x7f; 256], vec![0xc1; 257]] {
        let error = outcome(half(|inner| inner.dh_prime = dh_prime)).unwrap_err();
        assert!(matches!(error, ExchangeError::Unsafe(_)), "{error}");
    }
    for change in [
        |inner: &mut types::ServerDhInnerData| inner.nonce[0] ^= 1,
        |inner: &mut types::ServerDhInnerData| inner.server_nonce[15] ^= 1,
    ] {
        assert!(matches!(outcome(half(change)), Err(ExchangeError::Mismatch(_))));
    }
}

#[test]
fn a_refusal_counts_only_with_the_hash_of_our_secret() {
    let (nonce, server_nonce) = (bytes(NONCE), bytes(SERVER_NONCE));
    let refusal = |hash| {
        outcome(types::ServerDhParamsFail { nonce, server_nonce, new_nonce_hash: hash }.into())
    };
    let hash = tail_of_sha1(&[&bytes::<32>(NEW_NONCE)]);
    assert!(matches!(refusal(hash), Err(ExchangeError::GivenUp)));
    assert!(matches!(refusal([0; 16]), Err(ExchangeError::Mismatch(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a server sends, the steps end with an error and never panic.
    #[test]
    fn hostile_answers_are_errors(
        sealed in prop::collection::vec(any::<u8>(), 0..700),
        plain in prop::collection::vec(any::<u8>(), 0..40),
        pq in prop::collection::vec(any::<u8>(), 0..12),
        flip in 0_usize..592,
    ) {
        let (nonce, server_nonce) = (bytes(NONCE), bytes(SERVER_NONCE));
        let noise = types::ServerDhParamsOk { nonce, server_nonce, encrypted_answer: sealed };
        prop_assert!(outcome(noise.into()).is_err());
        let mut blocks = vec![0; plain.len() * 16];
        blocks.iter_mut().zip(plain.iter().cycle()).for_each(|(to, from)| *to = *from);
        prop_assert!(outcome(seal(&mut blocks)).is_err());
        let ServerDhParams::Ok(mut changed) = half(|_| {}) else { unreachable!() };
        changed.encrypted_answer[flip] ^= 1;
        prop_assert!(outcome(changed.into()).is_err());

        let key = ServerKey::from_pem(server_key::tests::PKCS1).unwrap();
        let fingerprints = vec![1, key.fingerprint()];
        let offer = types::ResPq {
            nonce, server_nonce, pq, server_public_key_fingerprints: fingerprints,
        };
        if let Ok((request, _)) = start(nonce).1.proceed(&key, 2, offer.into(), &[5; PQ_RANDOM]) {
            prop_assert!(request.p < request.q || request.p.len() < request.q.len());
        }
    }
}

async fn simulator() -> (Simulator, ServerKey) {
    let sim = Simulator::start(Options { seed: Some(7), ..Options::default() }).await.unwrap();
    let key = ServerKey::from_pem(&sim.public_key_pem()).unwrap();
    (sim, key)
}

#[tokio::test]
async fn a_server_of_ones_own_makes_a_key_with_us() {
    let (sim, key) = simulator().await;
    let first = exchange(sim.listen_addr().into(), 2, &key, &Clock::system()).await.unwrap();
    let second = exchange(sim.listen_addr().into(), 2, &key, &Clock::system()).await.unwrap();
    assert_ne!(first.auth_key, second.auth_key);
    assert!(first.time_offset.abs() <= 2, "{}", first.time_offset);
}

#[tokio::test]
async fn a_server_with_another_key_is_named() {
    let (sim, _) = simulator().await;
    let other = ServerKey::from_pem(server_key::tests::PKCS1).unwrap();
    let error = exchange(sim.listen_addr().into(), 2, &other, &Clock::system()).await.unwrap_err();
    assert!(matches!(error, ExchangeError::KeyUnknown), "{error}");
    assert_eq!(error.classify().code(), "SERVER_KEY_UNKNOWN");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = ServerKey::from_pem(server_key::tests::PKCS1).unwrap();
    let (limit, address) = (Duration::from_millis(50), mute.local_addr().unwrap());
    let error = exchange_within(limit, address, 2, &key, &Clock::system()).await.unwrap_err();
    assert!(matches!(error, ExchangeError::TimedOut), "{error}");
}
