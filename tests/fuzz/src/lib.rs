//! Throws broken input at parsers, from a corpus, on the stable toolchain.
//!
//! A *target* is an ordinary test beside a parser that reads a stranger's bytes. [`fuzz`] hands it every file of its
//! corpus as it stands and then thousands of inputs that are made by breaking those; the target asserts what has to
//! hold of each. What a parser takes joins the corpus of that run, so that later inputs are broken from what came
//! far. In a test run the inputs are the same every time. A longer run is by hand, and never throws the same:
//!
//! ```sh
//! PORTCULLIS_FUZZ_SECONDS=600 cargo test --workspace --lib fuzz -- --nocapture
//! ```
//!
//! An input that breaks a target is written to a file, whose name the test says; put into the corpus, it is tried
//! for ever after.
//!
//! A test beside a parser that is about much input, and not about broken one, has [`in_time()`].
//!
//! Why not another's: what runs on the stable toolchain elsewhere makes up values and does not break files, and
//! random bytes never come further into a parser of text than its first character.

#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a test says to who runs it what it tried")]

mod in_time;
mod mutation;
mod random;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use self::in_time::in_time;
use self::mutation::mutate;
pub use self::random::Random;

/// How many inputs a run without a time tries for each target. A guess: all targets together take some seconds.
const ROUNDS: u64 = 4_000;

/// How many inputs that were taken are kept to be broken further.
const KEPT: usize = 1_024;

/// How long an input is at most. Longer ones find nothing that these do not, and take long.
const LONGEST: usize = 4 << 10;

/// The variable that says how long every target is run for.
const SECONDS: &str = "PORTCULLIS_FUZZ_SECONDS";

/// What a parser made of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took it for what it reads.
    Taken,
    /// It would not have it.
    Refused,
}

impl<T, E> From<&Result<T, E>> for Outcome {
    fn from(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Taken } else { Self::Refused }
    }
}

/// Runs one target over the files in `corpus`, and over what comes of breaking them.
///
/// # Panics
///
/// When the target does, having said which input it was, and when there is no corpus. Also when no broken input was
/// taken: such a run has looked at a parser's door only.
pub fn fuzz(corpus: impl AsRef<Path>, target: impl FnMut(&[u8]) -> Outcome) {
    run(corpus.as_ref(), &std::env::temp_dir(), target);
}

/// Does so, and writes what breaks the target into the directory `broken`.
fn run(corpus: &Path, broken: &Path, mut target: impl FnMut(&[u8]) -> Outcome) {
    let mut inputs = read(corpus);
    let mut attempt = |input: &[u8]| {
        catch_unwind(AssertUnwindSafe(|| target(input))).unwrap_or_else(|panic| {
            let file = keep(corpus, broken, input);
            eprintln!("broken by {}: {}", file.display(), input.escape_ascii());
            resume_unwind(panic)
        })
    };
    for input in &inputs {
        attempt(input);
    }
    let (begin, (mut random, until)) = (Instant::now(), course(corpus));
    let (mut taken, mut round, given) = (0_u64, 0_u64, inputs.len());
    while until.map_or(round < ROUNDS, |until| Instant::now() < until) {
        round = round.wrapping_add(1);
        let input = mutate(&inputs, &mut random);
        if attempt(&input) == Outcome::Taken {
            taken += 1;
            if inputs.len() < given + KEPT {
                inputs.push(input);
            } else {
                let at = given + random.below(KEPT);
                inputs[at] = input;
            }
        }
    }
    println!("{}: {taken} of {round} broken inputs were taken, in {:?}", corpus.display(), begin.elapsed());
    assert!(taken > 0, "no broken input was taken: {}", corpus.display());
}

/// Reads the files of a corpus, in the order of their names.
fn read(corpus: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", corpus.display());
    files.iter().map(|file| fs::read(file).expect("it can be read")).collect()
}

/// Writes down what broke a target.
fn keep(corpus: &Path, broken: &Path, input: &[u8]) -> PathBuf {
    let name = corpus.file_name().unwrap_or_default().to_string_lossy();
    let mark = Random::from_name(&input.escape_ascii().to_string()).number();
    let file = broken.join(format!("portcullis-fuzz-{name}-{mark:016x}"));
    fs::write(&file, input).expect("there is room for it");
    file
}

/// Returns where the random numbers begin, and when the run is over if that is not after a number of inputs.
fn course(corpus: &Path) -> (Random, Option<Instant>) {
    let name = corpus.file_name().unwrap_or_default().to_string_lossy();
    #[expect(
        clippy::disallowed_methods,
        reason = "a person asks a test for a longer run, and there is no other way to"
    )]
    let seconds = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok());
    let Some(seconds) = seconds else { return (Random::from_name(&name), None) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let random = Random::from_name(&format!("{name}{}", now.as_nanos()));
    (random, Some(Instant::now() + Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A corpus in a directory of its own. By its name the same is thrown every time.
    fn corpus(files: &[&[u8]]) -> PathBuf {
        let mark = Random::from_name(&format!("{files:?}")).number();
        let own = format!("portcullis-fuzz-test-{}-{mark:016x}", std::process::id());
        let directory = std::env::temp_dir().join(own).join("corpus");
        fs::create_dir_all(&directory).unwrap();
        for (index, file) in files.iter().enumerate() {
            fs::write(directory.join(index.to_string()), file).unwrap();
        }
        directory
    }

    fn discard(corpus: &Path) {
        fs::remove_dir_all(corpus.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_fault_some_steps_from_the_corpus_is_found_and_what_it_took_is_kept() {
        let directory = corpus(&[b"key=1"]);
        let broken = directory.with_file_name("broken");
        fs::create_dir(&broken).unwrap();
        let mut last = Vec::new();
        let target = |input: &[u8]| {
            input.clone_into(&mut last);
            let Some(number) = input.strip_prefix(b"key=") else { return Outcome::Refused };
            let number = std::str::from_utf8(number).ok().and_then(|text| text.parse::<i64>().ok());
            assert!(number.is_none_or(|number| number < 256), "the fault");
            if number.is_some() { Outcome::Taken } else { Outcome::Refused }
        };
        let found = catch_unwind(AssertUnwindSafe(|| run(&directory, &broken, target)));
        let message = *found.unwrap_err().downcast::<&str>().unwrap();
        assert_eq!(message, "the fault");
        assert_eq!(read(&broken), [last]);
        discard(&directory);
    }

    #[test]
    fn a_run_that_comes_nowhere_fails() {
        let directory = corpus(&[b"x"]);
        assert!(catch_unwind(|| fuzz(&directory, |_| Outcome::Refused)).is_err());
        discard(&directory);
        assert!(catch_unwind(|| fuzz("/nowhere", |_| Outcome::Taken)).is_err());
    }

    #[test]
    fn a_run_without_a_time_is_the_same_every_time() {
        let directory = corpus(&[b"a", b"bc"]);
        let seen = || {
            let mut seen = Vec::new();
            fuzz(&directory, |input| {
                seen.push(input.to_owned());
                Outcome::Taken
            });
            seen
        };
        let (first, second) = (seen(), seen());
        assert_eq!(first, second);
        assert!(first.iter().all(|input| input.len() <= LONGEST));
        discard(&directory);
    }
}
