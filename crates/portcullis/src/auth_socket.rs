//! Where the proxy reaches the embedded auth service: a Unix socket in a folder that only this user can enter. The
//! service believes the client address it is told, so nobody else may speak to it.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use axum::Router;
use tempfile::TempDir;
use tokio::net::UnixListener;

/// `sun_path` of `sockaddr_un` on Linux, less the closing NUL.
const LONGEST_PATH: usize = 107;

/// The bound socket. Its folder is removed when this is dropped.
pub(crate) struct AuthSocket {
    folder: TempDir,
    path: PathBuf,
    listener: UnixListener,
}

impl AuthSocket {
    /// Must be called inside the runtime.
    pub(crate) fn bind() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("portcullis-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .context(
                "cannot make the private folder of the auth service's socket; is $TMPDIR writable?",
            )?;
        let path = folder.path().join("auth.sock");
        ensure!(
            path.as_os_str().len() <= LONGEST_PATH,
            "{} is too long for a socket's path: set TMPDIR to a shorter one",
            path.display()
        );
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        Ok(Self {
            folder,
            path,
            listener,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until the runtime ends. Whoever gets the folder back removes it by dropping it.
    pub(crate) fn serve(self, app: Router) -> TempDir {
        tokio::spawn(async move {
            if let Err(e) = axum::serve(self.listener, app).await {
                tracing::error!(error = %e, "the auth service ended");
            }
        });
        self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_sockets_folder_is_closed_to_others_and_goes_with_it() {
        let socket = AuthSocket::bind().unwrap();
        let folder = socket.path().parent().unwrap().to_owned();
        let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(socket.serve(Router::new()));
        assert!(!folder.exists());
    }
}
