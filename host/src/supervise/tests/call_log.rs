//! What the log tells of calls, and of a plugin that is left alone.

use std::sync::mpsc;

use portcullis_contract::Refusal;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::*;
use crate::fake::Log;

/// Returns what is logged while something is done.
fn logged(work: impl Future<Output = ()>) -> Vec<String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    Log::of(|| runtime.block_on(work))
}

#[test]
fn the_log_tells_of_each_call_to_its_end_and_in_no_word_of_the_plugins() {
    let lines = logged(async {
        let (world, plugin) = launched(Limits::default()).await;
        world.next([Answer::Echo, Answer::Refuse(Refusal::new("hunter2")), Answer::Hang]);
        assert!(ask(&plugin, Call::default()).await.is_ok());
        assert!(ask(&plugin, Call::default()).await.is_err());
        assert!(tokio::time::timeout(SECOND, ask(&plugin, Call::default())).await.is_err());
        world.next([Answer::Pieces(vec![Chunk::Stdout("a".into())]), Answer::Die]);
        let mut unread = plugin.execute_stream(&Call::default(), request());
        assert!(unread.next().await.is_some());
        drop(unread);
        assert!(last_of_stream(&plugin, Call::default()).await.is_err());
    });
    let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!(count("plugin is up plugin=p kind=provider backend=process path=/nowhere"), 1, "{lines:?}");
    assert_eq!(count("plugin=p method=\"execute\" offering=p "), 3, "{lines:?}");
    assert_eq!(count("plugin=p method=\"execute_stream\" offering=p "), 2, "{lines:?}");
    let ends =
        lines.iter().filter_map(|line| line.split_once(" outcome=")).map(|(_, outcome)| outcome.trim());
    let expected = [
        "\"answered\"",
        "\"refused\"",
        "\"given up by its caller\"",
        "\"given up by its caller\"",
        "\"the plugin stopped before it answered: exit status 3\"",
    ];
    assert_eq!(ends.collect::<Vec<_>>(), expected);
    assert!(!lines.concat().contains("hunter2"), "{lines:?}");
}

#[test]
fn the_log_tells_when_a_plugin_is_left_alone_and_when_no_longer() {
    let lines = logged(async {
        let (world, plugin) = launched(Limits::default()).await;
        world.next(vec![Answer::Die; 5]);
        world.launches.lock().unwrap().extend([Some(Duration::ZERO); 4].into_iter().chain([None]));
        for _ in 0..7 {
            assert!(ask(&plugin, Call::default()).await.is_err());
        }
        assert!(plugin.lift_quarantine());
    });
    let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!(count("message=plugin stopped plugin=p"), 5, "{lines:?}");
    assert_eq!(
        count("plugin stays down plugin=p attempt=5 reason=it could not be started again"),
        1,
        "{lines:?}"
    );
    assert_eq!(count("message=plugin is in quarantine after 5 restarts"), 1, "{lines:?}");
    assert_eq!(count("message=its quarantine is lifted plugin=p"), 1, "{lines:?}");
}

/// Asks, whenever something is logged, whether a plugin is in quarantine.
struct Asks(Arc<Supervised<ProviderKind>>, mpsc::Sender<Option<String>>);

impl<S: tracing::Subscriber> Layer<S> for Asks {
    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        let (plugin, (tell, told)) = (Arc::clone(&self.0), mpsc::channel());
        // On another thread, which alone is stuck if there is no answer while this is logged.
        std::thread::spawn(move || tell.send(plugin.quarantine()));
        let quarantine = told.recv_timeout(60 * SECOND).expect("there is no answer");
        self.1.send(quarantine).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_the_log_may_ask_for_the_quarantine_that_it_tells_of() {
    let (world, plugin) = launched(Limits::default()).await;
    let (plugin, (tell, told)) = (Arc::new(plugin), mpsc::channel());
    let log = tracing_subscriber::registry().with(Asks(Arc::clone(&plugin), tell));
    let _log = tracing::subscriber::set_default(log);
    world.next(vec![Answer::Die; 6]);

    for _ in 0..6 {
        assert!(ask(&plugin, Call::default()).await.is_err());
    }

    let quarantine = plugin.quarantine();
    assert!(quarantine.is_some() && told.try_iter().any(|asked| asked == quarantine));
}
