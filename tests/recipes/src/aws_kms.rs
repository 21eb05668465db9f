//! Keys in AWS KMS, by Amazon's SDK for Rust.
//!
//! The service hashes the message itself (`MessageType::Raw`, at most 4,096 bytes, which no handshake's message exceeds), and
//! returns ECDSA signatures in DER, as TLS wants them. Give each key to the pool by its id or ARN:
//! `pool.key(chain, "arn:aws:kms:eu-central-1:111122223333:key/...")`.

use std::time::Duration;

use aws_sdk_kms::Client;
use aws_sdk_kms::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_kms::operation::sign::SignError as KmsError;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use ssl_async::SignError;
use ssl_async::offload::SigningWork;
use ssl_async::rustls::SignatureScheme;
use ssl_async::task::TaskDevice;

/// One region of KMS as a device for [`KeyPool::builder`](ssl_async::KeyPool::builder). A second region with the same
/// multi-Region keys is its standby.
///
/// Make the client with `RetryConfig::disabled()`: the pool's `attempts` count the calls, and a throttled region is left alone
/// for as long as it asks without a task that waits.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn region(client: Client, attempt: Duration) -> TaskDevice<SigningWork> {
    let sign = move |work: &SigningWork| {
        let request = algorithm(work.scheme()).map(|algorithm| {
            client
                .sign()
                .key_id(work.key_id())
                .message(Blob::new(work.message()))
                .message_type(MessageType::Raw)
                .signing_algorithm(algorithm)
        });
        async move {
            let answer = request?.send().await.map_err(|error| sort(&error))?;
            let signature = answer.signature.ok_or_else(|| SignError::transient("no signature"))?;
            Ok(signature.into_inner())
        }
    };
    TaskDevice::new(sign).attempt_deadline(attempt)
}

/// What KMS calls a scheme of TLS.
fn algorithm(scheme: SignatureScheme) -> Result<SigningAlgorithmSpec, SignError> {
    use SigningAlgorithmSpec as Kms;
    Ok(match scheme {
        SignatureScheme::ECDSA_NISTP256_SHA256 => Kms::EcdsaSha256,
        SignatureScheme::ECDSA_NISTP384_SHA384 => Kms::EcdsaSha384,
        SignatureScheme::ECDSA_NISTP521_SHA512 => Kms::EcdsaSha512,
        SignatureScheme::RSA_PSS_SHA256 => Kms::RsassaPssSha256,
        SignatureScheme::RSA_PSS_SHA384 => Kms::RsassaPssSha384,
        SignatureScheme::RSA_PSS_SHA512 => Kms::RsassaPssSha512,
        SignatureScheme::RSA_PKCS1_SHA256 => Kms::RsassaPkcs1V15Sha256,
        SignatureScheme::RSA_PKCS1_SHA384 => Kms::RsassaPkcs1V15Sha384,
        SignatureScheme::RSA_PKCS1_SHA512 => Kms::RsassaPkcs1V15Sha512,
        other => return Err(SignError::permanent(format_args!("KMS does not sign in {other:?}"))),
    })
}

/// Sorts an error by what helps.
fn sort(error: &SdkError<KmsError>) -> SignError {
    let code = error.code().unwrap_or_default();
    let text = match (code, error.message()) {
        // No answer: a connection that could not be made, or one that broke.
        ("", _) => format!("KMS: {}", aws_sdk_kms::error::DisplayErrorContext(error)),
        (code, message) => format!("KMS: {code}: {}", message.unwrap_or_default()),
    };
    match code {
        // The quota is of each second. KMS does not say how long to wait.
        "ThrottlingException" => SignError::retry_after(Duration::from_millis(100), text),
        "AccessDeniedException"
        | "DisabledException"
        | "InvalidKeyUsageException"
        | "KMSInvalidStateException"
        | "NotFoundException"
        | "ValidationException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException" => SignError::permanent(text),
        _ => SignError::transient(text),
    }
}
