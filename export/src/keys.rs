//! Key pairs and signatures of models: Ed25519, in the file format of minisign. [`infer::signature`] checks the signatures.

use std::path::{Path, PathBuf};

use infer::model::Model;
use infer::signature;
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox, SignatureBox};
use support::{Context, Error, Result, bail, durable};

/// Largest accepted size of a key or password file.
const MAX_BYTES: u64 = 1 << 14;

/// Protection of a secret key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Password {
    /// Encrypted; the terminal asks for the password.
    #[default]
    Ask,
    /// Encrypted; the password is the first line of a file.
    File(PathBuf),
    /// Not encrypted: anyone who can read the file can sign.
    None,
}

impl Password {
    /// The password; `None` if the terminal asks for it or if there is none.
    fn text(&self) -> Result<Option<String>> {
        let Password::File(path) = self else { return Ok(None) };
        let text = String::from_utf8(durable::read(path, MAX_BYTES)?).doing(|| format!("reading {}", path.display()))?;
        match text.lines().next().filter(|line| !line.is_empty()) {
            Some(line) => Ok(Some(line.to_owned())),
            None => {
                bail!("{}: expected a password in the first line, found none", path.display(); hint: "--plain makes a key without a password")
            }
        }
    }
}

/// Makes the key pair `name.key` (secret) and `name.pub`.
///
/// # Errors
/// One of the two files exists already (keys are never overwritten), or a file cannot be written.
pub fn generate(name: &Path, password: &Password) -> Result<[PathBuf; 2]> {
    let [secret, public] = ["key", "pub"].map(|extension| name.with_extension(extension));
    if let Some(existing) = [&secret, &public].into_iter().find(|path| path.exists()) {
        bail!("{} exists already", existing.display(); hint: "keys are never overwritten: choose another name");
    }
    let pair = match password {
        Password::None => KeyPair::generate_unencrypted_keypair(),
        Password::Ask | Password::File(_) => KeyPair::generate_encrypted_keypair(password.text()?),
    };
    let pair = pair.map_err(|error| Error::new(error.to_string())).doing(|| "making a key")?;
    let boxed = pair.sk.to_box(None).map_err(|error| Error::new(error.to_string()))?.into_string();
    durable::write_secret(&secret, boxed.as_bytes())?;
    let boxed = pair.pk.to_box().map_err(|error| Error::new(error.to_string()))?.into_string();
    durable::write(&public, boxed.as_bytes())?;
    Ok([secret, public])
}

/// Signs a model file; writes `MODEL.minisig` beside it and returns that path. The trusted comment names the model and its SHA-256.
///
/// # Errors
/// The model or the key cannot be opened, or the password is wrong.
pub fn sign(model: &Path, key: &Path, password: &Password) -> Result<PathBuf> {
    let opened = Model::open(model)?;
    let path = signature::path_of(model);
    let secret = secret_key(key, password)?;
    let public = PublicKey::from_secret_key(&secret).map_err(|error| Error::new(error.to_string()))?;
    durable::check_output(&path, &[model, key], |old| is_signed_by(old, &public))?;
    let version = opened.card.version.as_deref().map_or_else(String::new, |version| format!(" {version}"));
    let comment = format!("{}{version}, sha256 {}", opened.card.name.replace(['\n', '\r'], " "), opened.sha256);
    let signature = minisign::sign(Some(&public), &secret, opened.bytes.as_slice(), Some(&comment), Some("signature of a model"))
        .map_err(|error| Error::new(error.to_string()))
        .doing(|| format!("signing {}", model.display()))?;
    durable::write(&path, signature.into_string().as_bytes())?;
    Ok(path)
}

/// Reports whether a file is a signature by a key, of whatever bytes.
fn is_signed_by(signature: &Path, key: &PublicKey) -> bool {
    SignatureBox::from_file(signature).is_ok_and(|signature| signature.keynum() == key.keynum())
}

/// Reads a secret key and decrypts it if needed.
fn secret_key(path: &Path, password: &Password) -> Result<SecretKey> {
    let text = String::from_utf8(durable::read(path, MAX_BYTES)?).doing(|| format!("reading {}", path.display()))?;
    let doing = || format!("opening the key {}", path.display());
    let hint = || "a .key file of `export keygen` is expected, and its password";
    let boxed = || SecretKeyBox::from_string(&text).map_err(|error| Error::new(error.to_string())).doing(doing).hint(hint);
    if let Ok(plain) = boxed()?.into_unencrypted_secret_key() {
        return Ok(plain);
    }
    if *password == Password::None {
        bail!("{} is encrypted", path.display(); hint: "omit --plain and give the password");
    }
    boxed()?.into_secret_key(password.text()?).map_err(|error| Error::new(error.to_string())).doing(doing).hint(hint)
}
