//! Fuzz targets: certificates, as a line and as a variable have them.

use portcullis_fuzz::{Outcome, fuzz};

use super::*;

#[test]
fn any_field_is_a_certificate_as_it_stands_or_refused() {
    fuzz(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/certificate-field"), |input| {
        let text = String::from_utf8_lossy(input);
        let read = read_field(&text);
        if let Ok(certificate) = &read {
            assert_eq!(BASE64_STANDARD_NO_PAD.encode(certificate), text.trim_end_matches('='));
        }
        Outcome::from(&read)
    });
}

#[test]
fn any_variable_holds_a_few_certificates_or_is_refused() {
    fuzz(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/certificate-pem"), |input| {
        let text = String::from_utf8_lossy(input);
        let read = read_pem(&text);
        if let Ok(certificates) = &read {
            assert!((1..=PEM_CERTIFICATES).contains(&certificates.len()));
            let size: usize = certificates.iter().map(|certificate| certificate.len()).sum();
            assert!(size <= text.len(), "{size} bytes of {}", text.len());
            for certificate in certificates {
                assert_eq!(checked(certificate.clone()).as_ref(), Ok(certificate));
            }
        }
        Outcome::from(&read)
    });
}
