//! What a plugin logs through `tracing`, written to its standard error for the host.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;
use tokio::task::block_in_place;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::{Entry, Level, chain};
use crate::lock::lock;

/// Writes events as hclog's JSON: one line each, the target as the module, the fields of the event and of the
/// spans around it as pairs.
///
/// Every line is written whole. It is no error if nobody reads it: the host may have died, and a plugin must not fail
/// because of its own log. A line waits for a host that does not read. Filtering is left to the subscriber.
pub struct LogLayer {
    writer: Mutex<Box<dyn Write + Send>>,
    rewrite: fn(Entry) -> Entry,
    waits_aside: bool,
}

impl LogLayer {
    /// Creates a layer that writes to the process's standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self::to(io::stderr())
    }

    /// Creates a layer that writes to `writer`.
    pub fn to(writer: impl Write + Send + 'static) -> Self {
        Self { writer: Mutex::new(Box::new(writer)), rewrite: |entry| entry, waits_aside: false }
    }

    /// Has `rewrite` change every entry before it is written. An entry can have fields whose names are made at run
    /// time; an event cannot.
    #[must_use]
    pub fn rewriting(self, rewrite: fn(Entry) -> Entry) -> Self {
        Self { rewrite, ..self }
    }

    /// Has a line that would wait let the other work of its thread go on meanwhile: where all of a plugin's work is on
    /// one thread, not even its end would come otherwise.
    ///
    /// It is for [`stderr`](Self::stderr), and logging panics where [`block_in_place`] does: within a runtime of one
    /// thread, or a `LocalSet`.
    #[must_use]
    pub fn waiting_aside(self) -> Self {
        Self { waits_aside: true, ..self }
    }

    fn write(&self, line: &[u8]) {
        // There is nowhere left to say that it failed.
        let write = |mut writer: MutexGuard<'_, Box<dyn Write + Send>>| drop(writer.write_all(line));
        if !self.waits_aside {
            return write(lock(&self.writer));
        }
        match self.writer.try_lock() {
            Ok(writer) if has_room(line.len()) => write(writer),
            busy => {
                drop(busy);
                block_in_place(|| write(lock(&self.writer)));
            }
        }
    }
}

/// Returns whether so many bytes can be written to standard error at once.
fn has_room(length: usize) -> bool {
    /// As many a pipe takes whole once it takes any.
    const PIPE_BUF: usize = 4096;

    let stderr = io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    length <= PIPE_BUF && poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

impl fmt::Debug for LogLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLayer").finish_non_exhaustive()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut pairs = Pairs::default();
        attributes.record(&mut pairs);
        if let Some(span) = context.span(id) {
            // With two layers of this kind both do so, and both say the same.
            span.extensions_mut().replace(pairs);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(pairs) = span.extensions_mut().get_mut::<Pairs>()
        {
            values.record(pairs);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut pairs = Pairs::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Pairs>() {
                pairs.fields.extend(of_span.fields.iter().cloned());
            }
        }
        event.record(&mut pairs);
        let entry = Entry {
            target: Some(event.metadata().target().to_owned()),
            fields: pairs.fields,
            ..Entry::plain(level(event.metadata().level()), pairs.message)
        };
        let line = (self.rewrite)(entry).to_line(SystemTime::now());
        self.write(line.as_bytes());
    }
}

fn level(level: &tracing::Level) -> Level {
    match *level {
        tracing::Level::TRACE => Level::Trace,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::INFO => Level::Info,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::ERROR => Level::Error,
    }
}

impl From<Level> for LevelFilter {
    fn from(least: Level) -> Self {
        match least {
            Level::Trace => Self::TRACE,
            Level::Debug => Self::DEBUG,
            Level::Info => Self::INFO,
            Level::Warn => Self::WARN,
            Level::Error => Self::ERROR,
        }
    }
}

/// What an event or a span says of itself.
#[derive(Default)]
struct Pairs {
    message: String,
    fields: Vec<(String, Value)>,
}

impl Pairs {
    fn set(&mut self, field: &Field, value: Value) {
        // A span may record a field again, for as long as it lives.
        match self.fields.iter_mut().find(|(name, _)| name == field.name()) {
            Some((_, before)) => *before = value,
            None => self.fields.push((field.name().to_owned(), value)),
        }
    }
}

impl Visit for Pairs {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.set(field, format!("{value:?}").into()),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            _ => self.set(field, value.into()),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.set(field, chain(value).into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use serde_json::json;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::LogReader;
    use super::*;

    struct Lines(mpsc::Sender<Vec<u8>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_span_says_anew_takes_the_place_of_what_it_said() {
        let (sender, lines) = mpsc::channel();
        let counted = |entry: Entry| Entry { message: entry.fields.len().to_string(), ..entry };
        let layer = LogLayer::to(Lines(sender)).rewriting(counted);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("import", done = 0).entered();
            for done in 1..=3 {
                span.record("done", done);
            }
            tracing::info!("ended");
        });
        let line = String::from_utf8(lines.recv().unwrap()).unwrap();
        assert!(line.contains(r#""@message":"1""#) && line.contains(r#""done":3"#), "{line}");
    }

    #[test]
    fn an_event_is_an_entry_of_the_hosts_log() {
        let (sender, lines) = mpsc::channel();
        let subscriber = tracing_subscriber::registry().with(LogLayer::to(Lines(sender)));
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!("call", id = 7, late = tracing::field::Empty).entered();
            tracing::Span::current().record("late", "yes");
            let error = io::Error::other("no room");
            let error = &error as &dyn std::error::Error;
            tracing::warn!(target: "shelf", error, ratio = 0.5, path = ?"/tmp", "cannot {}", "store");
        });
        let (mut reader, mut entries) = (LogReader::new(64 * 1024), Vec::new());
        reader.read(&lines.recv().unwrap(), |entry| entries.push(entry));
        let entry = entries.remove(0);
        assert_eq!((entry.level, entry.message.as_str()), (Level::Warn, "cannot store"));
        assert_eq!(entry.target.as_deref(), Some("shelf"));
        let expected = [
            ("error", json!("no room")),
            ("id", json!(7)),
            ("late", json!("yes")),
            ("path", json!("\"/tmp\"")),
            ("ratio", json!(0.5)),
        ];
        assert_eq!(entry.fields, expected.map(|(key, value)| (key.to_owned(), value)));
        assert!(lines.recv().is_err());
    }

    #[test]
    fn a_log_may_be_written_to_two_places() {
        let (sender, lines) = mpsc::channel();
        let layer = || LogLayer::to(Lines(sender.clone()));
        let subscriber = tracing_subscriber::registry().with(layer()).with(layer());
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!("call", id = 7).entered();
            tracing::warn!("cannot store");
        });
        let (mut reader, mut entries) = (LogReader::new(64 * 1024), Vec::new());
        for line in lines.try_iter() {
            reader.read(&line, |entry| entries.push(entry));
        }
        let found: Vec<_> = entries.into_iter().map(|entry| (entry.message, entry.fields)).collect();
        let expected = ("cannot store".to_owned(), vec![("id".to_owned(), json!(7))]);
        assert_eq!(found, [expected.clone(), expected]);
    }

    #[test]
    fn nobody_to_read_the_log_is_no_reason_to_fall() {
        let (sender, lines) = mpsc::channel();
        drop(lines);
        let subscriber = Arc::new(tracing_subscriber::registry().with(LogLayer::to(Lines(sender))));
        tracing::subscriber::with_default(subscriber, || tracing::error!("unheard")); // P-47
    }
}
