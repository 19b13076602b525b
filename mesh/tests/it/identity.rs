use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use mesh::identity::{AUDIENCE, ISSUER, Issuer, KeyDirectory, Subject};
use proto::contract::Role;
use serde_json::{Value, json};

use crate::harness::Keys;

/// A token of any content, signed with any key.
#[derive(Clone)]
pub(crate) struct Token {
    header: Header,
    claims: Value,
    key: EncodingKey,
}

impl Token {
    /// A good one for a user.
    pub(crate) fn user(keys: &Keys) -> Self {
        let now = get_current_timestamp();
        let claims = json!({ "iss": ISSUER, "sub": "alice", "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + 60, "roles": ["customer"] });
        let set: Value = serde_json::from_slice(&fs::read(keys.directory().users()).unwrap()).unwrap();
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some("at+jwt".to_owned());
        header.kid = set["keys"][0]["kid"].as_str().map(str::to_owned);
        Self { header, claims, key: key(&keys.directory().issuer_key()) }
    }

    /// A good one of a service.
    pub(crate) fn service(keys: &Keys, service: &str, audience: &str) -> Self {
        let now = get_current_timestamp();
        let issuer = format!("holdfast:{service}");
        let claims = json!({ "iss": issuer, "sub": service, "aud": audience, "iat": now, "nbf": now, "exp": now + 60 });
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some("JWT".to_owned());
        header.kid = Some(service.to_owned());
        Self { header, claims, key: key(&keys.directory().service_key(service)) }
    }

    pub(crate) fn set(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.claims[claim] = value.into();
        self
    }

    fn without(mut self, claim: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(claim);
        self
    }

    fn header(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.header);
        self
    }

    fn key(mut self, key: EncodingKey) -> Self {
        self.key = key;
        self
    }

    pub(crate) fn sign(self) -> String {
        encode(&self.header, &self.claims, &self.key).unwrap()
    }
}

fn key(path: &std::path::Path) -> EncodingKey {
    EncodingKey::from_ed_pem(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn good_tokens_name_their_subject() {
    let keys = Keys::new();
    let verifier = keys.verifier("back");
    let alice = verifier.verify(&keys.issuer.token("alice", &[Role::Host], Duration::from_secs(60))).unwrap();
    assert_eq!((alice.user_id(), alice.service_name()), (Some("alice"), None));
    assert!(alice.has_role(Role::Host) && !alice.has_role(Role::Operator));
    for _ in 0..2 {
        let front = verifier.verify(&Token::service(&keys, "front", "back").sign()).unwrap();
        assert_eq!(front.subject, Subject::Service("front".into()));
    }
    assert!(verifier.verify(&Token::user(&keys).sign()).is_ok());
    assert!(verifier.verify(&Token::user(&keys).set("aud", json!(["other", AUDIENCE])).sign()).is_ok());
}

#[test]
fn bad_tokens_are_refused() {
    let keys = Keys::new();
    let verifier = keys.verifier("back");
    let now = get_current_timestamp();
    let check = |what: &str, token: String| {
        for _ in 0..2 {
            let fault = verifier.verify(&token).expect_err(what);
            assert_eq!(fault.code(), tonic::Code::Unauthenticated, "{what}");
            assert!(token.len() < 10 || !fault.message().contains(&token), "{what}: the answer repeats the token");
        }
    };
    let user = || Token::user(&keys);
    check("expired", user().set("exp", now - 60).sign());
    check("not yet valid", user().set("nbf", now + 60).sign());
    check("another audience", user().set("aud", "another").sign());
    check("another issuer", user().set("iss", "https://evil.example").sign());
    for claim in ["exp", "iss", "aud", "sub"] {
        check(claim, user().without(claim).sign());
    }
    check("empty subject", user().set("sub", "").sign());
    check("no type", user().header(|header| header.typ = None).sign());
    check("another type", user().header(|header| header.typ = Some("id+jwt".to_owned())).sign());
    check("no key id", user().header(|header| header.kid = None).sign());
    check("unknown key id", user().header(|header| header.kid = Some("unknown".to_owned())).sign());
    check("another key", user().key(key(&keys.directory().service_key("front"))).sign());

    let good = user().sign();
    let parts: Vec<&str> = good.split('.').collect();
    let raised = URL_SAFE_NO_PAD.encode(user().set("roles", json!(["operator"])).claims.to_string());
    check("tampered payload", format!("{}.{raised}.{}", parts[0], parts[2]));
    check("no signature", format!("{}.{}.", parts[0], parts[1]));
    let kid = user().header.kid.unwrap();
    let none = URL_SAFE_NO_PAD.encode(json!({ "alg": "none", "typ": "at+jwt", "kid": kid }).to_string());
    check("alg none", format!("{none}.{}.", parts[1]));
    let set: Value = serde_json::from_slice(&fs::read(keys.directory().users()).unwrap()).unwrap();
    let public = URL_SAFE_NO_PAD.decode(set["keys"][0]["x"].as_str().unwrap()).unwrap();
    let symmetric = user().header(|header| header.alg = Algorithm::HS256).key(EncodingKey::from_secret(&public));
    check("HS256 with the public key", symmetric.sign());
    check("too long", format!("{good}{}", "A".repeat(10_000)));
    for garbage in ["", ".", "..", "a.b.c", "ä.ö.ü"] {
        check("garbage", garbage.to_owned());
    }
}

#[test]
fn a_service_speaks_for_itself_and_to_its_callee_only() {
    let keys = Keys::new();
    let verifier = keys.verifier("back");
    let check = |what: &str, token: Token| {
        let refused = verifier.verify(&token.sign()).expect_err(what);
        assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{what}");
    };
    let front = || Token::service(&keys, "front", "back");
    let now = get_current_timestamp();
    check("for another callee", Token::service(&keys, "front", "middle"));
    check("for users' audience", front().set("aud", AUDIENCE));
    check("in another's name", front().set("sub", "middle"));
    check("as another issuer", front().set("iss", "holdfast:middle").set("sub", "middle"));
    check(
        "under another's key id",
        front().set("iss", "holdfast:middle").set("sub", "middle").header(|h| h.kid = Some("middle".to_owned())),
    );
    check("living an hour", front().set("exp", now + 3600));
    check("living an hour, dated ahead", front().set("exp", now + 3600).set("iat", now + 3590));
    let as_user = Token::user(&keys).key(key(&keys.directory().service_key("front")));
    check("as a user", as_user.clone());
    check("as a user, own key id", as_user.header(|header| header.kid = Some("front".to_owned())));
    check(
        "as a user, own type",
        Token::user(&keys).key(key(&keys.directory().service_key("front"))).header(|header| {
            header.kid = Some("front".to_owned());
            header.typ = Some("JWT".to_owned());
        }),
    );
    let issuer_as_service =
        front().key(key(&keys.directory().issuer_key())).header(|h| h.kid = Token::user(&keys).header.kid);
    check("the issuer as a service", issuer_as_service);
}

#[test]
fn keys_rotate_without_a_refused_token() {
    let mut keys = Keys::new();
    let verifier = keys.verifier("back");
    let life = Duration::from_secs(60);
    let old = keys.issuer.token("alice", &[Role::Customer], life);
    let unseen = keys.issuer.token("bob", &[Role::Customer], life);
    assert!(verifier.verify(&old).is_ok());
    keys.issuer.rotate().unwrap();
    let new = keys.issuer.token("alice", &[Role::Customer], life);
    for token in [&new, &old, &unseen] {
        assert!(verifier.verify(token).is_ok());
    }
}

#[test]
fn fresh_keys_end_what_was_signed_before() {
    let keys = Keys::new();
    let verifier = keys.verifier("back");
    let old = keys.issuer.token("alice", &[Role::Customer], Duration::from_secs(60));
    assert!(verifier.verify(&old).is_ok());
    let issuer = Issuer::create(keys.directory().path(), &["front"]).unwrap();
    let new = issuer.token("alice", &[Role::Customer], Duration::from_secs(60));
    let began = std::time::Instant::now();
    while verifier.verify(&new).is_err() || verifier.verify(&old).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(10), "the new keys are never noticed");
        std::thread::yield_now();
    }
}

#[test]
fn private_keys_are_for_their_owner_and_missing_ones_are_errors() {
    let keys = Keys::new();
    let directory = keys.directory();
    for path in [directory.issuer_key(), directory.service_key("front")] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let empty = tempfile::tempdir().unwrap();
    let empty = KeyDirectory::new(empty.path());
    assert!(mesh::identity::ServiceIdentity::open(&empty, "front").is_err());
    assert!(Issuer::open(empty.path()).is_err());
    let verifier = mesh::identity::Verifier::open(&empty, "back");
    assert!(verifier.verify(&keys.issuer.token("alice", &[], Duration::from_secs(60))).is_err());
}
