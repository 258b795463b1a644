//! Checks that a file is a program.
//!
//! A file is judged by its first bytes before anything runs it. What the kernel would refuse in four words is refused
//! here in a sentence, and what nobody meant to run (a component, a text with an execute bit) never reaches the kernel.
//! The digest is that of the very file that is then run, whatever its path leads to by then; of a script, which is run
//! by its path, that is looked at before and after.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use portcullis_contract::{Digest, LaunchError};
use portcullis_goplugin::Executable;
use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};
use rustix::io::Errno;
use thiserror::Error;

use crate::magic::Magic;

mod segments;

/// A program that was found fit to run, and the file that is held open for it.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// What was opened.
    pub(super) executable: Executable,
    /// What the kernel makes of it.
    pub(super) form: Form,
}

/// How the kernel runs a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// By itself.
    Image,
    /// By an interpreter, which opens it by the name that it was started under.
    Script,
}

impl Program {
    /// Returns what to start: the opened file or, of a script, its path. That is its `$0`, by which many a script finds
    /// the program beside it.
    pub(super) fn to_start(&self) -> Executable {
        match self.form {
            Form::Script => Executable::at(self.executable.path()),
            Form::Image => self.executable.clone(),
        }
    }

    /// Checks a script that was started once more: its interpreter has opened what its path led to. (Whoever may replace it
    /// there could do so for just that moment. Only the permissions of its directory prevent that.) Blocks.
    pub(super) fn verify_started(&self, expected: Option<Digest>) -> Result<(), LaunchError> {
        let path = self.executable.path();
        let unreadable = |source| LaunchError::Unreadable { path: path.to_owned(), source };
        verify(&Executable::open(path).map_err(unreadable)?, expected).map(drop)
    }
}

/// Opens a file for running, and refuses it unless it is a program for this machine. Blocks.
pub(super) fn open(path: &Path) -> Result<Program, LaunchError> {
    let unreadable = |source| LaunchError::Unreadable { path: path.to_owned(), source };
    // A FIFO must not hold us up: opened like this it is refused a few lines on.
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path).map_err(unreadable)?;
    let kind = file.metadata().map_err(unreadable)?.file_type();
    if kind.is_dir() {
        return Err(LaunchError::unfit(Unfit::Directory));
    }
    if !kind.is_file() {
        return Err(LaunchError::unfit(Unfit::Special));
    }
    let mut head = Vec::new();
    (&file).take(HEAD).read_to_end(&mut head).map_err(unreadable)?;
    let form = recognise(&head).map_err(LaunchError::unfit)?;
    if form == Form::Image && !segments::are_whole(&file).map_err(unreadable)? {
        return Err(LaunchError::unfit(Unfit::CutShort));
    }
    // Only the kernel knows of mounts, access lists and who we are. If an old filter of a container refuses this
    // call, the answer shows when the program is started.
    if let Err(error) = accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
        && error != Errno::PERM
    {
        return Err(LaunchError::unfit(Unfit::NotExecutable { source: error.into() }));
    }
    Ok(Program { executable: Executable::holding(path, file), form })
}

/// Returns the digest of what is open, and refuses it unless it is what it has to be. Blocks.
pub(super) fn verify(executable: &Executable, expected: Option<Digest>) -> Result<Digest, LaunchError> {
    let path = executable.path();
    let checksum =
        executable.checksum().map_err(|source| LaunchError::Unreadable { path: path.to_owned(), source })?;
    let found = Digest::from_sha256(checksum.into());
    LaunchError::check_digest(path, expected, found)?;
    Ok(found)
}

/// How many bytes say what a file is: an ELF header up to where it begins to run, or the start of a script.
const HEAD: u64 = 32;

/// Why a file can never be run as a child.
#[derive(Debug, Error)]
pub(super) enum Unfit {
    #[error("it is a directory")]
    Directory,
    #[error("it is not a regular file")]
    Special,
    #[error("it may not be executed; `chmod +x` it, or move it if its file system is mounted `noexec`")]
    NotExecutable {
        #[source]
        source: io::Error,
    },
    #[error("it is empty, or begins with zeros, as a crash of the machine leaves it; copy it again")]
    Blank,
    #[error("it is a WebAssembly component, which only the component backend runs")]
    Component,
    #[error("it is a core WebAssembly module; a plugin has to be a component or a program")]
    CoreModule,
    #[error("it is WebAssembly that is cut short or of an unknown version")]
    OtherWasm,
    #[error("it is a program for {system}, and this is Linux")]
    Foreign { system: &'static str },
    #[error("it is a program for {machine}, and this machine is {}", Machine::OURS)]
    Machine { machine: Machine },
    #[error("it is a damaged or unfinished ELF file")]
    Damaged,
    #[error("it is an ELF file that is cut short; copy it again")]
    CutShort,
    #[error("it is an ELF file, but no program")]
    NotAProgram,
    #[error("it is a shared library, and no program; for a component, build with --target wasm32-wasip2")]
    Library,
    #[error("it is neither a program nor a script with an interpreter (`#!`)")]
    Neither,
}

/// Tells from its first bytes how the kernel runs a file, if it does.
fn recognise(head: &[u8]) -> Result<Form, Unfit> {
    match Magic::of(head) {
        Magic::Script => Ok(Form::Script),
        Magic::Elf => elf(head).map(|()| Form::Image),
        Magic::Component => Err(Unfit::Component),
        Magic::CoreModule => Err(Unfit::CoreModule),
        Magic::UnknownWasm | Magic::CutWasm => Err(Unfit::OtherWasm),
        Magic::Windows => Err(Unfit::Foreign { system: "Windows" }),
        Magic::MacOs => Err(Unfit::Foreign { system: "macOS" }),
        Magic::Blank => Err(Unfit::Blank),
        Magic::Other => Err(Unfit::Neither),
    }
}

/// Judges an ELF header: its byte order, and far behind that its type, its machine, and where it begins to run.
fn elf(head: &[u8]) -> Result<(), Unfit> {
    let [_, _, _, _, class, order, _, _, _, _, _, _, _, _, _, _, k0, k1, m0, m1, behind @ ..] = head else {
        return Err(Unfit::Damaged);
    };
    let number = |bytes| match order {
        1 => Ok(u16::from_le_bytes(bytes)),
        2 => Ok(u16::from_be_bytes(bytes)),
        _ => Err(Unfit::Damaged),
    };
    // 2 is a program at a fixed address, 3 one that can be moved, or a library.
    let kind = number([*k0, *k1])?;
    if !matches!(kind, 2 | 3) {
        return Err(Unfit::NotAProgram);
    }
    let machine = Machine(number([*m0, *m1])?);
    if !machine.runs_here() {
        return Err(Unfit::Machine { machine });
    }
    // Only a library has no place to begin at. That takes 8 bytes in a file of 64 bits, and 4 in one of 32.
    let entry = behind.get(4..).and_then(|behind| behind.get(..if *class == 2 { 8 } else { 4 }));
    if kind == 3 && entry.is_some_and(|entry| entry.iter().all(|byte| *byte == 0)) {
        return Err(Unfit::Library);
    }
    Ok(())
}

/// A processor, by its number in ELF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Machine(u16);

impl Machine {
    const X86: Self = Self(3);
    const ARM: Self = Self(40);
    const X86_64: Self = Self(62);
    const AARCH64: Self = Self(183);
    const RISCV: Self = Self(243);

    const OURS: Self = if cfg!(target_arch = "x86_64") {
        Self::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Self::AARCH64
    } else if cfg!(target_arch = "riscv64") {
        Self::RISCV
    } else {
        Self(0)
    };

    /// Returns whether a kernel of ours can run it. One of a machine that is not listed may.
    fn runs_here(self) -> bool {
        self == Self::OURS
            || Self::OURS == Self(0)
            || (Self::OURS == Self::X86_64 && self == Self::X86)
            || (Self::OURS == Self::AARCH64 && self == Self::ARM)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::X86 => f.write_str("386"),
            Self::ARM => f.write_str("arm"),
            Self::X86_64 => f.write_str("amd64"),
            Self::AARCH64 => f.write_str("arm64"),
            Self::RISCV => f.write_str("riscv64"),
            Self(number) => write!(f, "machine {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn check(head: &[u8], expected: &str) {
        let found = recognise(head).map_or_else(|unfit| unfit.to_string(), |_| "fit".to_owned());
        assert_eq!(found, expected, "{head:?}");
    }

    fn header(order: u8, kind: u8, machine: u16) -> Vec<u8> {
        let number = |n: u16| if order == 2 { n.to_be_bytes() } else { n.to_le_bytes() };
        let mut head = b"\x7fELF\x02".to_vec();
        head.extend([order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        head.extend(number(kind.into()));
        head.extend(number(machine));
        head
    }

    #[test]
    fn a_program_for_this_machine_is_fit_and_others_are_named() {
        check(&header(1, 2, Machine::OURS.0), "fit");
        check(&header(1, 3, Machine::OURS.0), "fit");
        let beginning_at = |order: u8, place: u64| {
            let place = if order == 2 { place.to_be_bytes() } else { place.to_le_bytes() };
            [&header(order, 3, Machine::OURS.0)[..], &[1, 0, 0, 0], &place].concat()
        };
        check(&beginning_at(1, 0x1040), "fit");
        check(&beginning_at(2, 0x1040), "fit");
        check(
            &beginning_at(1, 0),
            "it is a shared library, and no program; for a component, build with --target wasm32-wasip2",
        );
        check(&header(1, 1, Machine::OURS.0), "it is an ELF file, but no program");
        check(&header(1, 4, Machine::OURS.0), "it is an ELF file, but no program");
        check(&header(3, 2, Machine::OURS.0), "it is a damaged or unfinished ELF file");
        check(b"\x7fELF\x02\x01", "it is a damaged or unfinished ELF file");
        if Machine::OURS != Machine(0) {
            let ours = Machine::OURS;
            check(&header(2, 2, 22), &format!("it is a program for machine 22, and this machine is {ours}"));
            check(&header(1, 2, 243), &format!("it is a program for riscv64, and this machine is {ours}"));
        }
    }

    #[test]
    fn what_is_no_program_is_said_to_be_what_it_is() {
        check(b"#!/bin/sh\n", "fit");
        check(b"", "it is empty, or begins with zeros, as a crash of the machine leaves it; copy it again");
        check(
            b"hello, world, this is text\n",
            "it is neither a program nor a script with an interpreter (`#!`)",
        );
        check(b"\0asm\x0d\0\x01\0", "it is a WebAssembly component, which only the component backend runs");
        check(
            b"\0asm\x01\0\0\0",
            "it is a core WebAssembly module; a plugin has to be a component or a program",
        );
        check(b"\0asm", "it is WebAssembly that is cut short or of an unknown version");
        check(b"MZ\x90", "it is a program for Windows, and this is Linux");
        check(b"\xcf\xfa\xed\xfe", "it is a program for macOS, and this is Linux");
    }

    #[test]
    fn a_file_is_opened_only_when_it_can_be_run() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        let found = |path: &Path| match open(path) {
            Ok(_) => "fit".to_owned(),
            Err(LaunchError::Unfit(why)) => why.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found(&path), format!("cannot read {}", path.display()));
        assert_eq!(found(dir.path()), "it is a directory");

        std::fs::write(&path, "#!/bin/true\n").expect("a file");
        assert!(found(&path).starts_with("it may not be executed; `chmod"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        assert_eq!(found(&path), "fit");

        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, 0o777.into(), 0).expect("a fifo");
        assert_eq!(found(&fifo), "it is not a regular file");
    }

    #[test]
    fn a_program_is_started_by_what_was_opened_and_a_script_by_its_path() {
        let started = |executable, form| format!("{:?}", Program { executable, form }.to_start());
        let own = || Executable::open("/proc/self/exe").expect("we run");
        assert!(started(own(), Form::Image).contains("opened: Some"));
        assert!(started(own(), Form::Script).contains("opened: None"));
    }

    #[test]
    fn a_file_is_what_it_was_when_it_was_opened_or_it_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        let write = |content: &str| {
            let _none = std::fs::remove_file(&path);
            std::fs::write(&path, content).expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        };
        write("#!/bin/true\n");
        let opened = open(&path).expect("it is a script").executable;
        let digest = verify(&opened, None).expect("it can be read");
        write("#!/bin/false\n");
        assert_eq!(verify(&opened, Some(digest)).expect("the old file is open"), digest);

        let other = open(&path).expect("it is a script").executable;
        let error = verify(&other, Some(digest)).expect_err("it has changed");
        assert!(
            matches!(error, LaunchError::Changed { expected, found, .. } if expected == digest && found != digest)
        );
        let swapped = Program { executable: opened, form: Form::Script }.verify_started(Some(digest));
        assert!(matches!(swapped, Err(LaunchError::Changed { found, .. }) if found != digest));
    }
}
