//! Whom a broken rule hurts, and the ways out.

use crate::{Rule, Tier};

/// What a rule is about, for those it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guide {
    /// Who notices, and how.
    pub hurts: &'static str,
    /// What to do instead, the best first.
    pub ways_out: &'static [&'static str],
}

const BESIDE: &str = "add the new one beside the old, deprecate the old";
const NEXT: &str = "begin the next version of the package";
const LEAVE: &str = "leave it as it was";

const fn guide(hurts: &'static str, ways_out: &'static [&'static str]) -> Guide {
    Guide { hurts, ways_out }
}

/// Looks a rule up.
#[must_use]
pub fn explain(rule: &Rule) -> Guide {
    const DEPRECATE: &str = "deprecate it, release that twice, then delete it and reserve its number and name";
    let id = rule.id;
    match id {
        "SEM_REMOVAL_WITHOUT_DEPRECATION" => {
            guide("those who use it and were never told that it would go", &[DEPRECATE])
        }
        "RPC_NO_DELETE" | "SERVICE_NO_DELETE" => guide("callers get UNIMPLEMENTED", &[DEPRECATE, NEXT]),
        "SEM_EVENT_LOST" => guide("consumers wait for events that never come", &[DEPRECATE, NEXT]),
        "SEM_INPUT_REQUIRED_ADDED" | "SEM_INPUT_WRITABLE_LOST" | "SEM_INPUT_RULE_NARROWED" | "SEM_RULE_UNDECIDABLE" => {
            guide(
                "callers: requests that were accepted would be refused with INVALID_ARGUMENT",
                &["leave the rule as it was, or widen it", "add a field or an RPC with the new rule", NEXT],
            )
        }
        "SEM_OUTPUT_RULE_WIDENED" => guide(
            "readers of responses and events meet values they were promised never to see",
            &["keep to the old values", "add a field for the new ones", NEXT],
        ),
        "SEM_ENUM_WIDENED_OUT" | "SEM_ONEOF_WIDENED_OUT" => guide(
            "readers built before it came have no branch for it; many take it for the zero value",
            &[
                "give every reader a branch for the unknown and record it (contract-tests/consumers)",
                "make sure of it otherwise, then waive",
                "add a field beside it",
                NEXT,
            ],
        ),
        "SEM_HTTP_BINDING_LOST" | "SEM_HTTP_BINDING_CHANGED" => guide(
            "REST callers get 404, or send a body nobody reads",
            &["keep the old one in additional_bindings", NEXT],
        ),
        "SEM_IDEMPOTENCY_UNDECLARED" | "RPC_SAME_IDEMPOTENCY_LEVEL" => guide(
            "callers repeat what must not be repeated, or do not repeat what may",
            &["declare idempotency_level", BESIDE],
        ),
        "SEM_IDEMPOTENCY_KEY_CHANGED" => guide(
            "callers that repeat a call: it is done twice, or another call is taken for its repeat and never done",
            &[LEAVE, "add an RPC with the new key, deprecate the old", NEXT],
        ),
        "SEM_ACCESS_NARROWED" => guide("callers of that role get PERMISSION_DENIED", &[LEAVE, BESIDE]),
        "SEM_DEADLINE_LOWERED" => guide("calls that were in time get DEADLINE_EXCEEDED", &[LEAVE, BESIDE]),
        "SEM_ERROR_REASON_LOST" | "SEM_ERROR_CODE_CHANGED" => guide(
            "callers that match on the reason or retry by the code do the wrong thing",
            &[LEAVE, "declare a new reason beside it"],
        ),
        "SEM_EVENT_STREAM_CHANGED" | "SEM_EVENT_SUBJECT_CHANGED" | "SEM_EVENT_KEY_CHANGED" => {
            guide("consumers are subscribed elsewhere and hear nothing", &[LEAVE, "publish a new event beside it"])
        }
        "SEM_REDACT_LOST" => guide("people, whose secrets would be written to logs", &[LEAVE]),
        _ if id.contains("NO_DELETE") => {
            guide("programs that use it no longer compile, or misread what is stored", &[DEPRECATE, NEXT])
        }
        _ if id.starts_with("FILE_SAME_") => {
            guide("generated code moves or changes its shape in that language", &[LEAVE, NEXT])
        }
        _ => match rule.tier {
            Tier::WireJson | Tier::Source => {
                guide("programs already built, and what is stored, misread each other", &[BESIDE, NEXT])
            }
            Tier::Meaning => guide("programs that rely on the old meaning", &[LEAVE, BESIDE]),
            Tier::Notice => guide("nobody", &["nothing needs to be done"]),
        },
    }
}
