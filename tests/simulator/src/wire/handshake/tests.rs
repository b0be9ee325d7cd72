//! The exchange against the client half of an unrelated implementation: a client written here from
//! the specification, which uses the library's RSA_PAD.

use rand::SeedableRng;

use super::*;
use crate::wire::rsa::tests::KEY;

fn factor(pq: u64) -> (u64, u64) {
    let (p, q) = grammers_crypto::factorize(pq);
    (p.min(q), p.max(q))
}

fn short_bytes(number: u64) -> Vec<u8> {
    number.to_be_bytes().iter().copied().skip_while(|&byte| byte == 0).collect()
}

struct Client {
    nonce: [u8; 16],
    new_nonce: [u8; 32],
    server_nonce: [u8; 16],
}

impl Client {
    fn dh_request(&mut self, answer: &[u8]) -> functions::ReqDhParams {
        let enums::ResPq::Pq(res) = enums::ResPq::from_bytes(answer).unwrap();
        self.server_nonce = res.server_nonce;
        let (p, q) = factor(number(&res.pq).unwrap());
        let inner = enums::PQInnerData::Dc(types::PQInnerDataDc {
            pq: res.pq,
            p: short_bytes(p),
            q: short_bytes(q),
            nonce: self.nonce,
            server_nonce: self.server_nonce,
            new_nonce: self.new_nonce,
            dc: 2,
        });
        functions::ReqDhParams {
            nonce: self.nonce,
            server_nonce: self.server_nonce,
            p: short_bytes(p),
            q: short_bytes(q),
            public_key_fingerprint: res.server_public_key_fingerprints[0],
            encrypted_data: KEY.encrypt_for_tests(&inner.to_bytes()),
        }
    }

    fn key_request(&self, answer: &[u8]) -> (functions::SetClientDhParams, BigUint) {
        let enums::ServerDhParams::Ok(params) = enums::ServerDhParams::from_bytes(answer).unwrap()
        else {
            panic!("the server refused");
        };
        let (key, iv) = temporary_key(&self.server_nonce, &self.new_nonce);
        let mut plain = params.encrypted_answer;
        aes::ige_decrypt(&mut plain, &key, &iv);
        let enums::ServerDhInnerData::Data(data) =
            enums::ServerDhInnerData::from_bytes(&plain[20..]).unwrap();
        let prime = BigUint::from_bytes_be(&data.dh_prime);
        let b = BigUint::from_bytes_be(&[0x5a; 256]);
        let g_b = BigUint::from(data.g as u32).modpow(&b, &prime);
        let shared = BigUint::from_bytes_be(&data.g_a).modpow(&b, &prime);
        let inner = enums::ClientDhInnerData::Data(types::ClientDhInnerData {
            nonce: self.nonce,
            server_nonce: self.server_nonce,
            retry_id: 0,
            g_b: g_b.to_bytes_be(),
        });
        let encrypted_data = encrypt_answer(&inner.to_bytes(), &self.server_nonce, &self.new_nonce);
        let (nonce, server_nonce) = (self.nonce, self.server_nonce);
        (functions::SetClientDhParams { nonce, server_nonce, encrypted_data }, shared)
    }
}

#[test]
fn both_sides_end_with_the_same_key() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut server = Handshake::Idle;
    let mut client = Client { nonce: [1; 16], new_nonce: [2; 32], server_nonce: [0; 16] };
    let hello = functions::ReqPqMulti { nonce: client.nonce }.to_bytes();
    let answer = server.step(&hello, &KEY, &mut rng, 0).unwrap().answer;
    let request = client.dh_request(&answer).to_bytes();
    let answer = server.step(&request, &KEY, &mut rng, 0).unwrap().answer;
    let (request, shared) = client.key_request(&answer);
    let step = server.step(&request.to_bytes(), &KEY, &mut rng, 0).unwrap();
    let finished = step.finished.unwrap();
    assert_eq!(Some(*finished.key.bytes()), to_block(&shared));
    let enums::SetClientDhParamsAnswer::DhGenOk(ok) =
        enums::SetClientDhParamsAnswer::from_bytes(&step.answer).unwrap()
    else {
        panic!("the server refused");
    };
    assert_eq!(ok.new_nonce_hash1, new_nonce_hash1(&client.new_nonce, &finished.key));
}

#[test]
fn steps_out_of_order_and_foreign_nonces_are_refused() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut server = Handshake::Idle;
    let mut client = Client { nonce: [1; 16], new_nonce: [2; 32], server_nonce: [0; 16] };
    let hello = functions::ReqPqMulti { nonce: client.nonce }.to_bytes();
    let answer = server.step(&hello, &KEY, &mut rng, 0).unwrap().answer;
    let mut request = client.dh_request(&answer);
    let early = Handshake::Idle.step(&request.to_bytes(), &KEY, &mut rng, 0).err();
    assert_eq!(early, Some(HandshakeError::Unexpected(functions::ReqDhParams::CONSTRUCTOR_ID)));
    request.nonce = [9; 16];
    let foreign = server.step(&request.to_bytes(), &KEY, &mut rng, 0).err();
    assert_eq!(foreign, Some(HandshakeError::Mismatch("nonce")));
}
