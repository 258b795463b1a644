//! Fuzz target: what the other side announces.

use portcullis_fuzz::{Outcome, fuzz};
use prost::Message as _;

use super::*;

#[test]
fn any_announcement_is_kept_small_or_passed_over() {
    let (_alive, ended) = Ended::new();
    let place = Place::shared("/nowhere".into(), None);
    let broker = Broker::new(Queue::new(), Medium::Sockets { place, strays: None }, None, ended);
    fuzz(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/announcements"), |input| {
        let Ok(info) = ConnInfo::decode(input) else { return Outcome::Refused };
        assert_eq!(ConnInfo::decode(info.encode_to_vec().as_slice()), Ok(info.clone()));
        broker.arrived(info.clone());

        let kept = broker.announced().expect(info.service_id).try_recv();
        let fits = info.knock.is_none() && info.network.len() + info.address.len() <= ANNOUNCEMENT;
        assert_eq!(kept.is_ok(), fits, "{info:?}");
        let Ok(kept) = kept else { return Outcome::Refused };
        assert_eq!(kept, info);
        match Address::parse(&kept.network, &kept.address) {
            Ok(address) => {
                let again = Address::parse(address.network(), &address.to_string());
                assert_eq!(again, Ok(address));
                Outcome::Taken
            }
            Err(source) => {
                let text =
                    BrokerError::Address { id: kept.service_id, text: kept.address, source }.to_string();
                assert!(text.contains(&kept.service_id.to_string()), "{text}");
                assert!(text.len() <= 10 * ANNOUNCEMENT + 256, "{} bytes", text.len());
                Outcome::Refused
            }
        }
    });
}
