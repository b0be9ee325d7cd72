//! Proves that one knows a two-factor password without sending it
//! (<https://core.telegram.org/api/srp>).

use grammers_client::tl::{enums, types};
use grammers_crypto::two_factor_auth::calculate_2fa;
use num_bigint::BigUint;

use super::super::key_exchange::check_prime;
use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::secret::SecretText;

/// Length of the numbers, bytes.
const NUMBER_LEN: usize = 256;

/// Makes the proof from what `account.getPassword` says. Slow, as it is meant to be: a tenth of a
/// second at least. `secret` is fresh randomness; the server's own is not relied on.
///
/// # Errors
/// [`Failure::Rejected`] when the server's numbers are unsafe, or of a kind that is new to us.
pub(super) fn prove(
    asked: types::account::Password,
    password: &SecretText,
    secret: &[u8; NUMBER_LEN],
) -> Result<enums::InputCheckPasswordSrp, Failure> {
    use enums::PasswordKdfAlgo::Sha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow as Known;
    let rejected = |code: &str| Failure::Rejected { code: code.into() };
    let Some(Known(algorithm)) = asked.current_algo else {
        return Err(rejected("PASSWORD_ALGORITHM_UNKNOWN"));
    };
    let (Some(srp_b), Some(srp_id)) = (asked.srp_b, asked.srp_id) else {
        return Err(rejected("PASSWORD_PARAMETERS_MISSING"));
    };
    let unsafe_numbers = || rejected("PASSWORD_PARAMETERS_UNSAFE");
    check_prime(&algorithm.p, algorithm.g).map_err(|_| unsafe_numbers())?;
    let half = BigUint::from_bytes_be(&srp_b);
    let is_inside = half > BigUint::ZERO && half < BigUint::from_bytes_be(&algorithm.p);
    if srp_b.len() > NUMBER_LEN || !is_inside {
        return Err(unsafe_numbers());
    }
    let (m1, a) = calculate_2fa(
        &algorithm.salt1,
        &algorithm.salt2,
        &algorithm.p,
        &algorithm.g,
        srp_b,
        secret.to_vec(),
        password.expose(),
    );
    Ok(types::InputCheckPasswordSrp { srp_id, a: a.to_vec(), m1: m1.to_vec() }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(p: Vec<u8>, g: i32, srp_b: Option<Vec<u8>>) -> types::account::Password {
        let algorithm = types::PasswordKdfAlgoSha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow {
            salt1: vec![1],
            salt2: vec![2],
            g,
            p,
        };
        types::account::Password {
            has_recovery: false,
            has_secure_values: false,
            has_password: true,
            current_algo: Some(algorithm.into()),
            srp_b,
            srp_id: Some(7),
            hint: None,
            email_unconfirmed_pattern: None,
            new_algo: enums::PasswordKdfAlgo::Unknown,
            new_secure_algo: enums::SecurePasswordKdfAlgo::Unknown,
            secure_random: Vec::new(),
            pending_reset_date: None,
            login_email_pattern: None,
        }
    }

    #[test]
    fn what_a_hostile_server_asks_is_refused_without_a_panic() {
        let known =
            || grammers_crypto::hex::from_hex(super::super::super::key_exchange::KNOWN_PRIME);
        let password = SecretText::new("p".into());
        let refused = |asked| prove(asked, &password, &[9; NUMBER_LEN]).unwrap_err();
        let half = || Some(vec![1; 200]);
        for (p, g, srp_b, code) in [
            (known(), 3, None, "PASSWORD_PARAMETERS_MISSING"),
            (known(), 3, Some(vec![]), "PASSWORD_PARAMETERS_UNSAFE"),
            (known(), 3, Some(vec![0; 256]), "PASSWORD_PARAMETERS_UNSAFE"),
            (known(), 3, Some(vec![255; 256]), "PASSWORD_PARAMETERS_UNSAFE"),
            (known(), 3, Some(vec![0; 300]), "PASSWORD_PARAMETERS_UNSAFE"),
            (known(), 99, half(), "PASSWORD_PARAMETERS_UNSAFE"),
            (vec![], 3, half(), "PASSWORD_PARAMETERS_UNSAFE"),
            (vec![255; 257], 3, half(), "PASSWORD_PARAMETERS_UNSAFE"),
        ] {
            assert_eq!(refused(asked(p, g, srp_b)).code(), code, "{g}");
        }
        let mut newer = asked(known(), 3, half());
        newer.current_algo = None;
        assert_eq!(refused(newer).code(), "PASSWORD_ALGORITHM_UNKNOWN");
    }
}
