"""A certificate authority, and the certificates of servers on loopback."""

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = dt.timedelta(days=1)


class Authority:
    """An authority of its own, as a company has one.

    Attributes:
        path: its certificate, which a client must trust.
    """

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("authority of a test")
        self._certificate = self._sign(self._name, self._key, -DAY, DAY, "", self._key)
        self.path = self._write("authority.pem", self._certificate)

    def issue(self, host, *, begin=-DAY, end=DAY, self_signed=False):
        """Return the paths of a certificate for a host, and of its private key."""
        key = ec.generate_private_key(ec.SECP256R1())
        signer = key if self_signed else self._key
        made = self._sign(_name(host), key, begin, end, host, signer)
        stem = f"{host}{'-self' * self_signed}{'-old' * (end < DAY * 0)}"
        return self._write(f"{stem}.pem", made), self._write(f"{stem}.key", key)

    def _sign(self, subject, key, begin, end, host, signer):
        now = dt.datetime.now(dt.UTC)
        issuer = subject if signer is key else self._name
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begin)
            .not_valid_after(now + end)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=not host, path_length=None), critical=True)
        )
        if host:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
            names = x509.SubjectAlternativeName([x509.DNSName(host)])
            builder = builder.add_extension(usage, critical=False).add_extension(
                names, critical=False
            )
        else:
            usage = x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
                key_encipherment=False, data_encipherment=False, key_agreement=False,
                encipher_only=False, decipher_only=False,
            )  # fmt: skip
            builder = builder.add_extension(usage, critical=True)
        return builder.sign(signer, hashes.SHA256())

    def _write(self, name, what):
        path = self.directory / name
        if isinstance(what, x509.Certificate):
            path.write_bytes(what.public_bytes(serialization.Encoding.PEM))
        else:
            path.write_bytes(
                what.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
        return path


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
