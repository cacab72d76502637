//! The cryptography of JSON Web Tokens, by `ring`.
//!
//! # Why
//!
//! `jsonwebtoken` leaves the cryptography to a provider. `ring` is compiled for TLS anyway, accepts
//! only RSA keys of at least 2048 bits, and has no known timing leak of RSA keys. The provider has
//! only the two algorithms in use: HS256 for subscriber tokens, RS256 for tokens of Azure.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, Result};
use jsonwebtoken::jwk::{EllipticCurve, ThumbprintHash};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair, PublicKeyComponents};
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use ring::{digest, hmac};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: rsa_public_key,
        rsa_pub_components_from_public_key: |_| Err(unsupported()),
        ec_pub_components_from_private_key: no_curve,
        ed_pub_components_from_private_key: |_, _| Err(unsupported()),
        compute_digest: hash,
    },
};

/// Makes `ring` the provider of the process. It must run before the first token is signed or
/// verified; further calls have no effect.
pub fn install() {
    // An error means that a provider is installed already, and the build contains no other one.
    let _ = PROVIDER.install_default();
}

fn unsupported() -> Error {
    ErrorKind::UnsupportedAlgorithm.into()
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    match (algorithm, key.family()) {
        (Algorithm::HS256, AlgorithmFamily::Hmac) => Ok(Box::new(Hs256::new(key.as_bytes()))),
        (Algorithm::RS256, AlgorithmFamily::Rsa) => {
            Ok(Box::new(Rs256Signer(rsa_pair(key.as_bytes())?)))
        }
        (Algorithm::HS256 | Algorithm::RS256, _) => Err(ErrorKind::InvalidKeyFormat.into()),
        _ => Err(unsupported()),
    }
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    match (algorithm, key.family()) {
        (Algorithm::HS256, AlgorithmFamily::Hmac) => {
            Ok(Box::new(Hs256::new(key.try_get_as_bytes()?)))
        }
        (Algorithm::RS256, AlgorithmFamily::Rsa) => Ok(Box::new(Rs256Verifier(key.clone()))),
        (Algorithm::HS256 | Algorithm::RS256, _) => Err(ErrorKind::InvalidKeyFormat.into()),
        _ => Err(unsupported()),
    }
}

struct Hs256(hmac::Key);

impl Hs256 {
    fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, SignatureError> {
        Ok(hmac::sign(&self.0, message).as_ref().to_vec())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(
        &self,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> std::result::Result<(), SignatureError> {
        hmac::verify(&self.0, message, signature).map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

struct Rs256Signer(KeyPair);

impl Signer<Vec<u8>> for Rs256Signer {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, SignatureError> {
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| SignatureError::new())?;
        Ok(signature)
    }
}

impl JwtSigner for Rs256Signer {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}

struct Rs256Verifier(DecodingKey);

impl Verifier<Vec<u8>> for Rs256Verifier {
    fn verify(
        &self,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> std::result::Result<(), SignatureError> {
        let verified = match self.0.kind() {
            DecodingKeyKind::SecretOrDer(der) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).verify(message, signature)
            }
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                RsaPublicKeyComponents { n: without_leading_zeros(n), e: without_leading_zeros(e) }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        };
        verified.map_err(|_| SignatureError::new())
    }
}

/// Some issuers write the numbers of a key with a leading zero octet, which RFC 7518 forbids and ring
/// rejects.
fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    number.get(zeros..).unwrap_or_default()
}

impl JwtVerifier for Rs256Verifier {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}

fn rsa_pair(der: &[u8]) -> Result<KeyPair> {
    KeyPair::from_der(der).map_err(|rejected| ErrorKind::InvalidRsaKey(rejected.to_string()).into())
}

/// Modulus and exponent of a private key (PKCS #1, DER).
fn rsa_public_key(der: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let pair = rsa_pair(der)?;
    let PublicKeyComponents { n, e } = pair.public().into();
    Ok((n, e))
}

fn no_curve(_: &[u8], _: Algorithm) -> Result<(EllipticCurve, Vec<u8>, Vec<u8>)> {
    Err(unsupported())
}

fn hash(data: &[u8], function: ThumbprintHash) -> Result<Vec<u8>> {
    let algorithm = match function {
        ThumbprintHash::SHA256 => &digest::SHA256,
        ThumbprintHash::SHA384 => &digest::SHA384,
        ThumbprintHash::SHA512 => &digest::SHA512,
        _ => return Err(unsupported()),
    };
    Ok(digest::digest(algorithm, data).as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Header, Validation, decode, encode};
    use serde_json::{Value, json};

    use super::*;

    fn signed(algorithm: Algorithm, key: &EncodingKey) -> Result<String> {
        install();
        encode(&Header::new(algorithm), &json!({ "sub": "anna" }), key)
    }

    fn is_valid(token: &str, algorithm: Algorithm, key: &DecodingKey) -> bool {
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        decode::<Value>(token, key, &validation).is_ok()
    }

    #[test]
    fn the_example_token_of_rfc_7515_is_valid() {
        install();
        // RFC 7515, appendix A.1.
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        use base64::Engine as _;
        let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(secret).unwrap();
        let key = DecodingKey::from_secret(&secret).unwrap();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        assert!(decode::<Value>(token, &key, &validation).is_ok());
    }

    #[test]
    fn an_rsa_signature_is_verified_by_components_and_by_der_and_by_its_own_key_only() {
        let one = EncodingKey::from_rsa_der(include_bytes!("../../tests/data/jwt/one.der"));
        let two = EncodingKey::from_rsa_der(include_bytes!("../../tests/data/jwt/two.der"));
        let token = signed(Algorithm::RS256, &one).unwrap();
        let components = |key: &EncodingKey| {
            let (n, e) = rsa_public_key(key.as_bytes()).unwrap();
            DecodingKey::from_rsa_raw_components(&n, &e)
        };
        assert!(is_valid(&token, Algorithm::RS256, &components(&one)));
        assert!(!is_valid(&token, Algorithm::RS256, &components(&two)));
        let pair = rsa_pair(one.as_bytes()).unwrap();
        let der = DecodingKey::from_rsa_der(pair.public().as_ref());
        assert!(is_valid(&token, Algorithm::RS256, &der));
    }

    #[test]
    fn other_algorithms_and_keys_of_another_family_are_rejected() {
        let secret = EncodingKey::from_secret(b"secret").unwrap();
        let rsa = EncodingKey::from_rsa_der(include_bytes!("../../tests/data/jwt/one.der"));
        assert!(signed(Algorithm::HS512, &secret).is_err());
        assert!(signed(Algorithm::RS256, &secret).is_err());
        assert!(signed(Algorithm::HS256, &rsa).is_err());
        assert!(signed(Algorithm::PS256, &rsa).is_err());
    }
}
