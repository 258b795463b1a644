//! The environment narrows the policy in the file. It can take away, and adds nothing.
//!
//! `PORTCULLIS_DENY` takes grants away, by the keys that a policy has for them: `fs`, `env`, `http`, `identity`,
//! `identity.token`, `secrets`, `secrets.read`, `secrets.write`, or `all`, with commas between.
//! `PORTCULLIS_LIMIT_MEMORY`, `_CPU`, `_WALL`, `_MESSAGE`, `_OUTPUT`, `_HANDLES` and `_CONCURRENCY` lower a limit. One
//! that is higher than the file's changes nothing; of several, with commas between, the lowest holds. A value that is
//! not understood is refused, because it was meant to restrict something.

use std::ffi::{OsStr, OsString};

use portcullis::policy::{self, DENY, LIMIT};
use portcullis_contract::{BackendName, Grants, LimitName, Limits};
use thiserror::Error;

/// Everything that can be taken away.
const WORDS: &str = "all, env, fs, http, identity, identity.token, secrets, secrets.read, secrets.write";

/// Why the environment cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum NarrowError {
    /// The variable holds no text.
    #[error("{name} is not UTF-8")]
    NotText {
        /// The variable.
        name: String,
    },
    /// There is no grant of that name.
    #[error("{DENY}: {word:?} is not a grant; these are: {WORDS}")]
    UnknownGrant {
        /// The unknown word.
        word: String,
    },
    /// There is no limit of that name.
    #[error("{name} is not a limit; these are: {}", LimitName::ALL.map(LimitName::key).join(", ").to_uppercase())]
    UnknownLimit {
        /// The variable.
        name: String,
    },
    /// The amount is not valid.
    #[error("{name}: {reason}")]
    BadAmount {
        /// The variable.
        name: String,
        /// Why not.
        reason: String,
    },
}

/// Narrows grants and limits by what these variables say, and returns in words what was taken.
pub(crate) fn by(
    variables: &[(OsString, OsString)],
    grants: &mut Grants,
    limits: &mut Limits,
) -> Result<Vec<String>, NarrowError> {
    let mut taken = Vec::new();
    for (name, value) in variables {
        let is_limit = name.as_encoded_bytes().starts_with(LIMIT.as_bytes());
        if value.is_empty() || !(is_limit || name == DENY) {
            continue;
        }
        let name = name.to_string_lossy().into_owned();
        let value = text(&name, value)?;
        let before = (grants.clone(), limits.resolve(BackendName::Component));
        if is_limit {
            for amount in value.split(',') {
                lower(&name, amount, limits)?;
            }
        } else {
            for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
                take(word, grants)?;
            }
        }
        // A limit that is not lower, or a grant that was not there, changes nothing.
        if *grants != before.0 || limits.resolve(BackendName::Component) != before.1 {
            taken.push(format!("{name}={value}"));
        }
    }
    taken.sort();
    Ok(taken)
}

fn text<'v>(name: &str, value: &'v OsStr) -> Result<&'v str, NarrowError> {
    value.to_str().ok_or_else(|| NarrowError::NotText { name: name.to_owned() })
}

fn take(word: &str, grants: &mut Grants) -> Result<(), NarrowError> {
    match word {
        "all" => *grants = Grants::default(),
        "env" => grants.env.clear(),
        "fs" => grants.fs.clear(),
        "http" => grants.http.clear(),
        "identity" => grants.identity = None,
        "identity.token" => {
            if let Some(identity) = &mut grants.identity {
                identity.token = false;
            }
        }
        "secrets" => {
            grants.secrets.read.clear();
            grants.secrets.write.clear();
        }
        "secrets.read" => grants.secrets.read.clear(),
        "secrets.write" => grants.secrets.write.clear(),
        _ => return Err(NarrowError::UnknownGrant { word: word.to_owned() }),
    }
    Ok(())
}

/// Returns the lower of a limit that may hold and one that is asked for.
fn least<T: Ord>(now: Option<T>, asked: T) -> Option<T> {
    now.into_iter().chain([asked]).min()
}

fn lower(name: &str, value: &str, limits: &mut Limits) -> Result<(), NarrowError> {
    let no_amount = |reason: String| NarrowError::BadAmount { name: name.to_owned(), reason };
    let size = || policy::parse_size(value).map_err(no_amount);
    let time = || policy::parse_duration(value).map_err(no_amount);
    let count = || {
        let count = value.parse().ok().filter(|count| *count > 0);
        count.ok_or_else(|| no_amount(format!("{value:?} is no number from 1 on")))
    };
    // Where the file sets no limit the default holds, and can be lowered.
    let now = limits.resolve(BackendName::Component);
    match name.strip_prefix(LIMIT).unwrap_or_default() {
        "MEMORY" => limits.memory = least(now.memory, size()?),
        "CPU" => limits.cpu = least(now.cpu, time()?),
        "WALL" => limits.wall = least(now.wall, time()?),
        "MESSAGE" => limits.message = Some(now.message.min(size()?)),
        "OUTPUT" => limits.output = least(now.output, size()?),
        "HANDLES" => limits.handles = least(now.handles, count()?),
        "CONCURRENCY" => limits.concurrency = Some(now.concurrency.min(count()?)),
        _ => return Err(NarrowError::UnknownLimit { name: name.to_owned() }),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis_contract::{Access, FsGrant, IdentityGrant, SecretGrant};

    use super::*;

    fn everything() -> Grants {
        Grants {
            secrets: SecretGrant { read: vec!["a.*".parse().unwrap()], write: vec!["b".parse().unwrap()] },
            identity: Some(IdentityGrant { handlers: vec!["door".to_owned()], token: true }),
            http: vec!["https://a.example".parse().unwrap()],
            fs: vec![FsGrant { host: "/srv".into(), guest: "/in".to_owned(), access: Access::Read }],
            env: vec!["LANG".to_owned()],
        }
    }

    fn narrowed(pairs: &[(&str, &str)], limits: Limits) -> Result<(Grants, Limits), NarrowError> {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect();
        let (mut grants, mut limits) = (everything(), limits);
        by(&pairs, &mut grants, &mut limits)?;
        Ok((grants, limits))
    }

    fn check_denied(value: &str, change: impl FnOnce(&mut Grants)) {
        let mut expected = everything();
        change(&mut expected);
        let (grants, _) = narrowed(&[(DENY, value)], Limits::default()).unwrap();
        assert_eq!(grants, expected, "{value}");
    }

    #[test]
    fn every_grant_can_be_taken() {
        check_denied("", |_| ());
        check_denied("fs", |grants| grants.fs.clear());
        check_denied("env, http", |grants| {
            grants.env.clear();
            grants.http.clear();
        });
        check_denied("identity.token", |grants| grants.identity.as_mut().unwrap().token = false);
        check_denied("identity", |grants| grants.identity = None);
        check_denied("secrets.read", |grants| grants.secrets.read.clear());
        check_denied("secrets.write", |grants| grants.secrets.write.clear());
        check_denied("secrets", |grants| grants.secrets = SecretGrant::default());
        check_denied("all", |grants| *grants = Grants::default());
    }

    fn check_limit(name: &str, value: &str, file: Limits, expected: Limits) {
        let name = format!("{LIMIT}{name}");
        let (grants, limits) = narrowed(&[(&name, value)], file).unwrap();
        assert_eq!((grants, limits), (everything(), expected), "{name}={value}");
    }

    #[test]
    fn a_limit_can_be_lowered_and_not_raised() {
        let memory = |amount| Limits { memory: amount, ..Limits::default() };
        check_limit("MEMORY", "16MiB", memory(None), memory(Some(16 << 20)));
        check_limit("MEMORY", "1GiB", memory(None), memory(Some(64 << 20)));
        check_limit("MEMORY", "1GiB", memory(Some(1 << 20)), memory(Some(1 << 20)));
        check_limit("MEMORY", "8MiB,16MiB", memory(None), memory(Some(8 << 20)));
        let seconds = Duration::from_secs;
        let wall = |amount| Limits { wall: amount, ..Limits::default() };
        check_limit("WALL", "2s", wall(Some(seconds(5))), wall(Some(seconds(2))));
        check_limit("WALL", "1h", wall(None), wall(Some(seconds(30))));
        let count = |count| Limits { concurrency: count, ..Limits::default() };
        check_limit("CONCURRENCY", "1", count(None), count(Some(1)));
        check_limit("CONCURRENCY", "100", count(None), count(Some(8)));
        let handles = |count| Limits { handles: count, ..Limits::default() };
        check_limit("HANDLES", "10", handles(Some(20)), handles(Some(10)));
        check_limit("HANDLES", "2000", handles(None), handles(Some(1_000)));
    }

    fn check_refused(name: &str, value: &str, expected: &str) {
        let error = narrowed(&[(name, value)], Limits::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        check_refused(DENY, "fs,network", "\"network\" is not a grant");
        check_refused("PORTCULLIS_LIMIT_MEMORY", "16", "a size is a whole number");
        check_refused("PORTCULLIS_LIMIT_MEMORY", "16MiB,", "a size is a whole number");
        check_refused("PORTCULLIS_LIMIT_CPU", "fast", "a duration is a whole number");
        check_refused("PORTCULLIS_LIMIT_CONCURRENCY", "0", "no number from 1 on");
        let known = "is not a limit; these are: MEMORY, CPU, WALL, MESSAGE, OUTPUT, HANDLES, CONCURRENCY";
        check_refused("PORTCULLIS_LIMIT_GPU", "1", known);
    }

    #[test]
    fn other_variables_are_none_of_its_business() {
        let all = [("PORTCULLIS_LOG_LEVEL", "x"), ("PATH", "/bin"), ("PORTCULLIS_LIMIT_WALL", "")];
        assert_eq!(narrowed(&all, Limits::default()).unwrap(), (everything(), Limits::default()));
    }
}
