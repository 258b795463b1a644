//! What go-plugin costs from our host and from a Go host, with the same Go plugin, in turn.
//!
//! Both hosts keep a plugin of every mode and make one round of calls at a time, first the one and then the
//! other, so that a machine whose speed drifts drifts for both. What is quoted is the median over the
//! rounds, and the median of the ratios round by round. Nothing is asserted: a benchmark reports.
//!
//! Ours is [`Launch`] with tonic's client, messages whose bytes are not copied, and buffers of their own size, as the process
//! backend has it, on one thread, as the command `portcullis` has it (`threads` makes it two); the Go one is go-plugin's client with
//! generated messages, on as many threads as Go likes. A processor that has nothing to do falls asleep and
//! takes about 40 us to wake up, which every hop of a single caller pays; with `awake` both are kept from it.
//!
//! `cargo bench -p portcullis-goplugin-tests [-- [awake] [threads] [ROW]...]`; a ROW runs only those whose
//! title contains it.

#![expect(clippy::print_stdout, reason = "its table is what it is for")]
#![expect(clippy::disallowed_methods, reason = "Go's host is a program, and this starts it")]

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use portcullis_goplugin::{Channel, Connection, Cookie, Encryption, Launch, Serving, Versions};
use portcullis_goplugin_tests::Echo;
use prost::Message;
use prost::bytes::Bytes;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tonic::Request;
use tonic::client::Grpc;
use tonic::codec::BufferSettings;
use tonic::service::Routes;
use tonic_prost::{ProstDecoder, ProstEncoder};

const ROUNDS: usize = 11;

/// How long a plugin may take to end.
const LONG: Duration = Duration::from_secs(60);

/// One row of the table.
#[derive(Clone, Copy)]
struct Row {
    title: &'static str,
    what: &'static str,
    mode: &'static str,
    size: usize,
    calls: usize,
    callers: usize,
}

const fn echo(title: &'static str, mode: &'static str, size: usize, calls: usize, callers: usize) -> Row {
    Row { title, what: "echo", mode, size, calls, callers }
}

const fn other(
    what: &'static str,
    title: &'static str,
    mode: &'static str,
    size: usize,
    calls: usize,
) -> Row {
    Row { title, what, mode, size, calls, callers: 1 }
}

const ROWS: [Row; 23] = [
    echo("call, 16 B", "plain", 16, 400, 1),
    echo("call, 1 KiB", "plain", 1 << 10, 400, 1),
    echo("call, 64 KiB", "plain", 64 << 10, 100, 1),
    echo("call, 1 MiB", "plain", 1 << 20, 20, 1),
    echo("call, 16 B, 64 in flight", "plain", 16, 3000, 64),
    echo("call, 1 KiB, 64 in flight", "plain", 1 << 10, 3000, 64),
    echo("call, 64 KiB, 64 in flight", "plain", 64 << 10, 300, 64),
    echo("call, 1 MiB, 64 in flight", "plain", 1 << 20, 512, 64),
    echo("call, 1 KiB, AutoMTLS", "automtls", 1 << 10, 400, 1),
    echo("call, 1 KiB, multiplexed", "mux", 1 << 10, 400, 1),
    echo("call, 1 KiB, both", "both", 1 << 10, 400, 1),
    other("through", "callback, 1 KiB", "plain", 1 << 10, 300),
    other("through", "callback, 1 KiB, AutoMTLS", "automtls", 1 << 10, 300),
    other("through", "callback, 1 KiB, multiplexed", "mux", 1 << 10, 300),
    other("through", "callback, 1 KiB, both", "both", 1 << 10, 300),
    other("dialled", "first callback", "plain", 16, 30),
    other("dialled", "first callback, multiplexed", "mux", 16, 30),
    other("chunks", "stream of 16 MiB", "plain", 256, 3),
    other("chunks", "stream of 16 MiB, AutoMTLS", "automtls", 256, 3),
    other("chunks", "stream of 16 MiB, multiplexed", "mux", 256, 3),
    other("start", "start to first answer", "plain", 16, 8),
    other("start", "start to first answer, AutoMTLS", "automtls", 16, 8),
    other("start", "start to first answer, both", "both", 16, 8),
];

/// What a round of calls took: each, sorted, and all together.
struct Times {
    each: Vec<f64>,
    together: f64,
}

impl Times {
    /// Reads nanoseconds, of which the last are those of all together.
    fn new(mut nanoseconds: Vec<f64>) -> Self {
        let together = nanoseconds.pop().expect("a round takes some time");
        nanoseconds.sort_unstable_by(f64::total_cmp);
        Self { each: nanoseconds, together }
    }

    fn p50(&self) -> f64 {
        self.each[self.each.len() / 2] / 1e3
    }

    fn p99(&self) -> f64 {
        self.each[self.each.len() * 99 / 100] / 1e3
    }

    fn per_second(&self) -> f64 {
        self.each.len() as f64 / self.together * 1e9
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let wanted: Vec<_> = arguments.iter().filter(|a| *a != "awake" && *a != "threads").collect();
    let runtime = match flag("threads") {
        true => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
        false => Builder::new_current_thread().enable_all().build(),
    };
    let runtime = runtime.expect("a runtime");
    let mut go = GoHost::start();
    let mut ours = Ours { runtime, kept: Vec::new() };
    let _busy = flag("awake").then(Busy::start);

    println!("\n## go-plugin: our host and a Go host, with the same Go plugin, us ({ROUNDS} rounds)\n");
    println!("| | ours p50 | p99 | a second | Go p50 | p99 | a second | ours is so many times as fast |");
    println!("|---|---|---|---|---|---|---|---|");
    for row in ROWS {
        if wanted.is_empty() || wanted.iter().any(|wanted| row.title.contains(*wanted)) {
            compare(&row, &mut ours, &mut go);
        }
    }
    ours.stop();
}

fn compare(row: &Row, ours: &mut Ours, go: &mut GoHost) {
    // Warms up.
    ours.round(row);
    go.round(row);
    let rounds: Vec<_> = (0..ROUNDS)
        .map(|round| match round % 2 {
            0 => (ours.round(row), go.round(row)),
            _ => {
                let theirs = go.round(row);
                (ours.round(row), theirs)
            }
        })
        .collect();
    let of = |figure: fn(&Times) -> f64| {
        (median(rounds.iter().map(|r| figure(&r.0))), median(rounds.iter().map(|r| figure(&r.1))))
    };
    let (p50, p99, rate) = (of(Times::p50), of(Times::p99), of(Times::per_second));
    // With many callers a single call mostly waits for the others.
    let ratio = median(rounds.iter().map(|(ours, go)| match row.callers {
        1 => go.p50() / ours.p50(),
        _ => ours.per_second() / go.per_second(),
    }));
    println!(
        "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {ratio:.2} |",
        row.title, p50.0, p99.0, rate.0, p50.1, p99.1, rate.1
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn peers(name: &str) -> PathBuf {
    PathBuf::from(option_env!("GO_PEERS").unwrap_or("go-peers-were-not-built")).join("1.8").join(name)
}

/// The Go host, a program that is told by lines what to do.
struct GoHost {
    host: Child,
    /// `None` only when it is to end.
    commands: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    /// Go leaves sockets behind.
    _sockets: TempDir,
}

impl GoHost {
    fn start() -> Self {
        let sockets = tempfile::tempdir().expect("there is room for a directory");
        let mut host = Command::new(peers("benchhost"));
        host.env("TMPDIR", sockets.path());
        host.arg(peers("kvplugin")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut host = host.spawn().expect("the Go host starts");
        let commands = host.stdin.take();
        let answers = BufReader::new(host.stdout.take().expect("it was asked for")).lines();
        Self { host, commands, answers, _sockets: sockets }
    }

    fn round(&mut self, row: &Row) -> Times {
        let Row { what, mode, size, calls, callers, .. } = row;
        let commands = self.commands.as_mut().expect("it was asked for");
        writeln!(commands, "{what} {mode} {size} {calls} {callers}").expect("the Go host listens");
        let line = self.answers.next().expect("the Go host is there").expect("it prints text");
        Times::new(line.split(' ').map(|number| number.parse().expect("it prints numbers")).collect())
    }
}

impl Drop for GoHost {
    fn drop(&mut self) {
        // It ends its plugins, which would outlive it if it were killed, at the end of what it is told.
        drop(self.commands.take());
        let _reaped = self.host.wait();
    }
}

/// Our host, in this process.
struct Ours {
    runtime: Runtime,
    kept: Vec<Arc<Running>>,
}

/// A plugin, and the server that it keeps a connection to.
struct Running {
    mode: &'static str,
    plugin: Connection,
    _served: Serving,
}

impl Ours {
    fn round(&mut self, row: &Row) -> Times {
        let row = *row;
        if row.what == "start" {
            return self.on_a_task(starts(row));
        }
        let kept = match self.kept.iter().find(|running| running.mode == row.mode) {
            Some(running) => Arc::clone(running),
            None => {
                let running = Arc::new(self.on_a_task(hold(row.mode)));
                self.kept.push(Arc::clone(&running));
                running
            }
        };
        self.on_a_task(round(row, kept))
    }

    /// Calls from the thread that blocks on the runtime would pay a wake-up more.
    fn on_a_task<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.runtime.block_on(async { tokio::spawn(work).await.expect("the round ends") })
    }

    fn stop(self) {
        for running in self.kept {
            self.runtime.block_on(running.plugin.stop(LONG));
        }
    }
}

fn launch(mode: &str) -> Launch {
    let mut launch =
        Launch::new(peers("kvplugin"), Cookie::new("GOPLUGIN_PEER", "hello"), Versions::from([3]));
    launch.encryption = match mode {
        "automtls" | "both" => Encryption::AutoMtls,
        _ => Encryption::Off,
    };
    launch.multiplex = matches!(mode, "mux" | "both");
    launch
}

async fn hold(mode: &'static str) -> Running {
    let plugin = launch(mode).start().await.expect("the plugin starts");
    let served = plugin.broker().serve(Routes::new(Echo)).await.expect("the broker serves");
    unary::<_, ()>(plugin.channel(), "/portcullis.test.Peer/Hold", served.id()).await;
    Running { mode, plugin, _served: served }
}

async fn round(row: Row, running: Arc<Running>) -> Times {
    let payload = Bytes::from(vec![0; row.size]);
    let begun = Instant::now();
    let callers = (0..row.callers).map(|caller| {
        let (running, payload) = (Arc::clone(&running), payload.clone());
        tokio::spawn(async move {
            let mut times = Vec::with_capacity(row.calls / row.callers + 1);
            for _ in (caller..row.calls).step_by(row.callers) {
                let before = Instant::now();
                call(row.what, &running.plugin, payload.clone()).await;
                times.push(nanoseconds(before));
            }
            times
        })
    });
    let mut times = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        times.extend(caller.await.expect("every call works"));
    }
    times.push(nanoseconds(begun));
    Times::new(times)
}

async fn call(what: &str, plugin: &Connection, payload: Bytes) {
    let size = payload.len();
    let got = match what {
        "echo" => unary::<_, Bytes>(plugin.channel(), "/portcullis.test.Peer/Echo", payload).await.len(),
        "through" => {
            unary::<_, Bytes>(plugin.channel(), "/portcullis.test.Peer/Through", payload).await.len()
        }
        "dialled" => {
            let served = plugin.broker().serve(Routes::new(Echo)).await.expect("the broker serves");
            unary::<_, Bytes>(plugin.channel(), "/portcullis.test.Peer/CallBack", served.id()).await;
            size
        }
        "chunks" => chunks(plugin.channel(), size).await >> 16,
        _ => unreachable!("there is no {what}"),
    };
    assert_eq!(got, size);
}

async fn unary<Q, A>(channel: Channel, path: &'static str, request: Q) -> A
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.expect("the plugin lives");
    let codec = Codec::<Q, A>(PhantomData);
    let answer = grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await;
    answer.expect("a benchmarked call works").into_inner()
}

/// Returns how many bytes came.
async fn chunks(channel: Channel, count: usize) -> usize {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.expect("the plugin lives");
    let codec = Codec::<u32, Bytes>(PhantomData);
    let request = Request::new(u32::try_from(count).expect("there are few"));
    let path = PathAndQuery::from_static("/portcullis.test.Peer/Chunks");
    let mut stream = grpc.server_streaming(request, path, codec).await.expect("it streams").into_inner();
    let mut bytes = 0;
    while let Some(chunk) = stream.message().await.expect("it streams to the end") {
        bytes += chunk.len();
    }
    bytes
}

/// tonic's own has 8 KiB ready for each message, which a backend does without.
struct Codec<Q, A>(PhantomData<(Q, A)>);

impl<Q: Message + 'static, A: Message + Default + 'static> tonic::codec::Codec for Codec<Q, A> {
    type Encode = Q;
    type Decode = A;
    type Encoder = ProstEncoder<Q>;
    type Decoder = ProstDecoder<A>;

    fn encoder(&mut self) -> ProstEncoder<Q> {
        ProstEncoder::new(BufferSettings::new(512, 32 << 10))
    }

    fn decoder(&mut self) -> ProstDecoder<A> {
        ProstDecoder::new(BufferSettings::new(512, 32 << 10))
    }
}

async fn starts(row: Row) -> Times {
    let (mut times, mut together) = (Vec::new(), 0.0);
    for _ in 0..row.calls {
        let begun = Instant::now();
        let plugin = launch(row.mode).start().await.expect("the plugin starts");
        call("echo", &plugin, Bytes::from(vec![0; row.size])).await;
        let took = nanoseconds(begun);
        plugin.stop(LONG).await;
        times.push(took);
        together += took;
    }
    times.push(together);
    Times::new(times)
}

fn nanoseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e9
}

/// Keeps the processors from falling asleep, without taking them from anybody.
struct Busy(Vec<Child>);

impl Busy {
    fn start() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let spin = || Command::new("nice").args(["-n", "19", "sh", "-c", "while :; do :; done"]).spawn();
        Self((0..processors).map(|_| spin().expect("there is a shell")).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _it_spins_until_then = child.kill();
            let _only_to_reap_it = child.wait();
        }
    }
}
