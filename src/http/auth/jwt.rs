//! Tokens that tell all themselves: `--auth-token jwt,…`. The claims are etcd's: `username`,
//! `revision` (of users and roles) and `exp`.

use std::{fmt, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// What signs and checks them.
pub struct Jwt {
    algorithm: Algorithm,
    sign: Option<EncodingKey>,
    verify: DecodingKey,
    validation: Validation,
    ttl: Duration,
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// What a token says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whose it is.
    pub username: String,
    /// The auth revision at which it was made.
    pub revision: u64,
    /// The end of it, in seconds since 1970.
    exp: u64,
}

/// Why keys are of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no such algorithm here.
    #[error(
        "sign-method must be one of RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 HS256 HS384 HS512 EdDSA"
    )]
    Method,
    /// HMAC signs and checks with one key.
    #[error("priv-key is needed for this sign-method")]
    NoSecret,
    /// Nothing could be checked.
    #[error("pub-key is needed for this sign-method")]
    NoPublic,
    /// It is none, or of another kind.
    #[error("priv-key is not a private key in PEM for this sign-method (of an EC key: PKCS#8)")]
    Private,
    /// It is none, or of another kind.
    #[error("pub-key is not a public key in PEM for this sign-method")]
    Public,
    /// What one signs the other does not take.
    #[error("pub-key and priv-key are not a pair")]
    NoPair,
}

/// Why nothing was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// There is only a public key.
    #[error("auth: token signing attempted with verify-only key")]
    VerifyOnly,
    /// As it says.
    #[error("auth: token could not be signed")]
    Failed,
}

impl Jwt {
    /// With keys from files.
    pub fn new(
        method: &str,
        public: Option<&[u8]>,
        private: Option<&[u8]>,
        ttl: Duration,
    ) -> Result<Jwt, KeyError> {
        let algorithm = match method {
            "RS256" => Algorithm::RS256,
            "RS384" => Algorithm::RS384,
            "RS512" => Algorithm::RS512,
            "PS256" => Algorithm::PS256,
            "PS384" => Algorithm::PS384,
            "PS512" => Algorithm::PS512,
            "ES256" => Algorithm::ES256,
            "ES384" => Algorithm::ES384,
            "HS256" => Algorithm::HS256,
            "HS384" => Algorithm::HS384,
            "HS512" => Algorithm::HS512,
            "EdDSA" => Algorithm::EdDSA,
            _ => return Err(KeyError::Method),
        };
        let (sign, verify) = match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                let secret =
                    private.filter(|secret| !secret.is_empty()).ok_or(KeyError::NoSecret)?;
                (Some(EncodingKey::from_secret(secret)), DecodingKey::from_secret(secret))
            }
            Algorithm::ES256 | Algorithm::ES384 => (
                private.map(EncodingKey::from_ec_pem).transpose().map_err(|_| KeyError::Private)?,
                DecodingKey::from_ec_pem(public.ok_or(KeyError::NoPublic)?)
                    .map_err(|_| KeyError::Public)?,
            ),
            Algorithm::EdDSA => (
                private.map(EncodingKey::from_ed_pem).transpose().map_err(|_| KeyError::Private)?,
                DecodingKey::from_ed_pem(public.ok_or(KeyError::NoPublic)?)
                    .map_err(|_| KeyError::Public)?,
            ),
            _ => (
                private
                    .map(EncodingKey::from_rsa_pem)
                    .transpose()
                    .map_err(|_| KeyError::Private)?,
                DecodingKey::from_rsa_pem(public.ok_or(KeyError::NoPublic)?)
                    .map_err(|_| KeyError::Public)?,
            ),
        };
        let mut validation = Validation::new(algorithm);
        validation.leeway = 0;
        validation.validate_aud = false;
        let jwt = Jwt { algorithm, sign, verify, validation, ttl };
        if jwt.sign.is_some() {
            // Once now, rather than a refusal for each token later.
            let far = 1 << 40;
            let token = jwt.sign("probe", 0, far).map_err(|_| KeyError::Private)?;
            jwt.verify(&token).ok_or(KeyError::NoPair)?;
        }
        Ok(jwt)
    }

    /// A token for a user, made `now`, in seconds since 1970.
    pub fn sign(&self, user: &str, revision: u64, now: u64) -> Result<String, SignError> {
        let key = self.sign.as_ref().ok_or(SignError::VerifyOnly)?;
        let exp = now.saturating_add(self.ttl.as_secs());
        let claims = Claims { username: user.to_owned(), revision, exp };
        let header = Header::new(self.algorithm);
        jsonwebtoken::encode(&header, &claims, key).map_err(|_| SignError::Failed)
    }

    /// What a token says, if it is signed and has not run out.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.verify, &self.validation);
        decoded.ok().map(|decoded| decoded.claims)
    }
}
