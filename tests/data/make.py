#!/usr/bin/env python3
"""Writes the fixtures of mail/ and container/, one defect of the real world each.

They are made up, from nothing but what stands here. Made once and then kept: another zlib may pack them otherwise, so a
new fixture is added here and written by its name, `make.py mail/050-name.eml`; without arguments all are written anew.
What the program makes of each stands beside it (see tests/it/golden.rs).
"""
import base64, binascii, bz2, gzip, io, lzma, pathlib, quopri, struct, sys, tarfile, zipfile, zlib

HERE = pathlib.Path(__file__).parent
FIXTURES = {}
NAME = "receiver.example!example.com!1700000000!1700086399"


def fixture(path):
    def register(make):
        FIXTURES[path] = make
        return make
    return register


def record(ip="192.0.2.1", count=3):
    return (f"<record><row><source_ip>{ip}</source_ip><count>{count}</count><policy_evaluated><disposition>none"
            "</disposition><dkim>pass</dkim><spf>pass</spf></policy_evaluated></row><identifiers><header_from>example.com"
            "</header_from></identifiers><auth_results><dkim><domain>example.com</domain><selector>s1</selector><result>pass"
            "</result></dkim><spf><domain>example.com</domain><scope>mfrom</scope><result>pass</result></spf></auth_results>"
            "</record>\n")


def report(id="r-1", records=1, org="Receiver Example"):
    rows = "".join(record(f"192.0.2.{n + 1}", n + 3) for n in range(records))
    return (f"<?xml version=\"1.0\"?>\n<feedback><report_metadata><org_name>{org}</org_name><email>reports@receiver.example"
            f"</email><report_id>{id}</report_id><date_range><begin>1700000000</begin><end>1700086399</end></date_range>"
            "</report_metadata>\n<policy_published><domain>example.com</domain><adkim>r</adkim><aspf>r</aspf><p>reject</p>"
            f"<sp>none</sp><pct>100</pct></policy_published>\n{rows}</feedback>\n").encode()


# Containers

def gz(content):
    return gzip.compress(content, mtime=0)


def zipped(*members, method=zipfile.ZIP_DEFLATED, stream=False):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    out = Pipe() if stream else io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(info(name, method), content)
    return out.getvalue()


def info(name, method=zipfile.ZIP_DEFLATED):
    entry = zipfile.ZipInfo(name, (2023, 11, 15, 0, 0, 0))
    entry.compress_type = method
    return entry


def tarred(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def noisy(records):
    """Rows that deflate badly, so that what is cut off is rows and not all of them."""
    seed, rows = 1, []
    for n in range(records):
        seed = seed * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        rows.append(record(f"2001:db8::{seed >> 48:x}:{seed >> 32 & 0xffff:x}", seed >> 44 & 0xffff))
    return report(records=0).replace(b"</feedback>", "".join(rows).encode() + b"</feedback>")


@fixture("container/001-junk-after-the-trailer.gz")
def _():
    return gz(report()) + b"\r\n\0\0junk"


@fixture("container/002-several-members.gz")
def _():
    whole = report(records=2)
    return gz(whole[:400]) + gz(whole[400:900]) + gz(whole[900:])


@fixture("container/003-wrong-checksum.gz")
def _():
    packed = gz(report())
    return packed[:-8] + bytes(byte ^ 0xff for byte in packed[-8:-4]) + packed[-4:]


@fixture("container/004-cut-off.gz")
def _():
    packed = gz(noisy(12))
    return packed[:len(packed) * 3 // 4]


@fixture("container/005-damaged-half-way.gz")
def _():
    # Members of their own, so that the damage is seen where it is and not when the bytes make no sense any more.
    whole = noisy(6)
    second = bytearray(gz(whole[2000:]))
    second[20:40] = b"\xff" * 20
    return gz(whole[:2000]) + bytes(second)


@fixture("container/006-gzip-in-gzip.xml.gz")
def _():
    return gz(gz(report()))


@fixture("container/007-zlib.xml.gz")
def _():
    return zlib.compress(report())


@fixture("container/008-tar.tar.gz")
def _():
    return gz(tarred((f"reports/{NAME}.xml", report())))


@fixture("container/009-tar.tgz")
def _():
    return gz(tarred(("a.xml", report("r-1")), ("b.xml.gz", gz(report("r-2")))))


@fixture("container/010-plain.tar")
def _():
    return tarred((f"{NAME}.xml", report()))


@fixture("container/011-bzip2.xml.bz2")
def _():
    return bz2.compress(report())


@fixture("container/012-xz.xml.xz")
def _():
    return lzma.compress(report())


@fixture("container/013-several-members.zip")
def _():
    return zipped(("a.xml", report("r-1")), ("b.xml", report("r-2")), ("c.xml.gz", gz(report("r-3"))))


@fixture("container/014-directories.zip")
def _():
    return zipped(("out/", b""), ("out/2023/", b""), (f"out/2023/{NAME}.xml", report()))


@fixture("container/015-macosx.zip")
def _():
    return zipped((f"{NAME}.xml", report()), ("__MACOSX/", b""), (f"__MACOSX/._{NAME}.xml", b"\0\5\x16\7\0\2\0\0Mac OS X"),
                  (".DS_Store", b"\0\0\0\1Bud1"))


@fixture("container/016-empty-name.zip")
def _():
    return zipped(("", report()))


@fixture("container/017-absolute-name.zip")
def _():
    return zipped((f"/var/tmp/{NAME}.xml", report()), (f"C:\\Temp\\{NAME}.xml", report("r-2")))


@fixture("container/018-name-that-climbs.zip")
def _():
    return zipped((f"../../../etc/{NAME}.xml", report()))


@fixture("container/019-data-descriptors.zip")
def _():
    return zipped((f"{NAME}.xml", report()), stream=True)


@fixture("container/020-zip64.zip")
def _():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open(info(f"{NAME}.xml"), "w", force_zip64=True) as member:
        member.write(report())
    # The directory says so too, and the end of it: sizes and places in the fields of 64 bits alone.
    packed = out.getvalue()
    at = packed.index(b"PK\1\2")
    local, entry = packed[:at], bytearray(packed[at:packed.index(b"PK\5\6")])
    stored, size = struct.unpack_from("<II", entry, 20)
    struct.pack_into("<II", entry, 20, 0xffffffff, 0xffffffff)
    struct.pack_into("<H", entry, 30, 28)
    struct.pack_into("<I", entry, 42, 0xffffffff)
    entry += struct.pack("<HHQQQ", 1, 24, size, stored, 0)
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(entry), at)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at + len(entry), 1)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xffff, 0xffff, 0xffffffff, 0xffffffff, 0)
    return local + bytes(entry) + end64 + locator + end


@fixture("container/021-duplicate-names.zip")
def _():
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zipped(("report.xml", report("r-1")), ("report.xml", report("r-2")))


@fixture("container/022-overlapping-members.zip")
def _():
    packed = zipped(("report.xml", report()))
    at, end = packed.index(b"PK\1\2"), packed.index(b"PK\5\6")
    entry = packed[at:end]
    return (packed[:end] + entry.replace(b"report.xml", b"again!.xml")
            + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 2, 2, 2 * len(entry), at, 0))


@fixture("container/023-encrypted.zip")
def _():
    packed = bytearray(zipped((f"{NAME}.xml", report())))
    for at in (6, packed.index(b"PK\1\2") + 8):
        packed[at] |= 1
    return bytes(packed)


@fixture("container/024-zip-called.gz")
def _():
    return zipped((f"{NAME}.xml", report()))


@fixture("container/025-gzip-called.zip")
def _():
    return gz(report())


@fixture("container/026-unused.xml")
def _():
    return b"unused"


@fixture("container/027-unused-in-a-zip.zip")
def _():
    return zipped((f"{NAME}.xml", b"unused\n"))


@fixture("container/028-wrong-checksum.zip")
def _():
    packed = bytearray(zipped((f"{NAME}.xml", report())))
    for at in (14, packed.index(b"PK\1\2") + 16):
        packed[at] ^= 0xff
    return bytes(packed)


@fixture("container/029-wrong-checksum-stored.zip")
def _():
    packed = bytearray(zipped((f"{NAME}.xml", report()), method=zipfile.ZIP_STORED))
    packed[packed.index(b"192.0.2.1") + 8] = ord("7")
    return bytes(packed)


@fixture("container/030-cut-off.zip")
def _():
    packed = zipped((f"{NAME}.xml", noisy(12)))
    return packed[:len(packed) // 2]


@fixture("container/031-zip-in-a-zip.zip")
def _():
    return zipped(("inner.zip", zipped((f"{NAME}.xml", report()))))


@fixture("container/032-lzma.zip")
def _():
    return zipped((f"{NAME}.xml", report()), method=zipfile.ZIP_LZMA)


@fixture("container/033-nothing-in-it.xml.gz")
def _():
    return gz(b"")


@fixture("container/034-xml-called.xml.gz")
def _():
    return report()


@fixture("container/035-all-header-fields.xml.gz")
def _():
    packed = gz(report())
    header = bytearray(packed[:10])
    header[3] = 2 | 4 | 8 | 16
    header += struct.pack("<H", 5) + b"extra" + b"name.xml\0" + b"a comment\0"
    return bytes(header) + struct.pack("<H", binascii.crc32(header) & 0xffff) + packed[10:]


@fixture("container/036-no-directory.zip")
def _():
    packed = zipped((f"{NAME}.xml", report()))
    return packed[:packed.index(b"PK\1\2")]


@fixture("container/037-empty.xml")
def _():
    return b""


@fixture("container/038-cut-off.tgz")
def _():
    return gz(tarred(("a.xml", report("r-1")), ("b.xml", noisy(12)))[:6000])


@fixture("container/039-wrong-checksum.xml.zlib")
def _():
    packed = zlib.compress(report())
    return packed[:-4] + bytes(byte ^ 0xff for byte in packed[-4:])


# Mails

HEAD = {
    "From": "DMARC reports <reports@receiver.example>",
    "To": "dmarc@example.com",
    "Subject": "Report Domain: example.com Submitter: receiver.example Report-ID: r-1",
    "Date": "Wed, 15 Nov 2023 06:00:00 +0000",
    "Message-ID": "<1@receiver.example>",
    "MIME-Version": "1.0",
}


def b64(content, width=76):
    text = base64.b64encode(content).decode()
    return "".join(text[at:at + width] + "\r\n" for at in range(0, len(text), width))


def head(**changes):
    """The usual header; a change to None leaves the field out, and `_` stands for `-`."""
    fields = HEAD | {name.replace("_", "-"): value for name, value in changes.items()}
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)


def part(kind, content, name=None, encoding="base64", disposition="attachment", more=""):
    text = f"Content-Type: {kind}\r\n" if kind else ""
    if name:
        text += f"Content-Disposition: {disposition}; filename=\"{name}\"\r\n"
    if encoding:
        text += f"Content-Transfer-Encoding: {encoding}\r\n"
    body = b64(content) if encoding == "base64" else content.decode("latin-1")
    return f"{text}{more}\r\n{body}"


NOTE = "Content-Type: text/plain; charset=utf-8\r\n\r\nAn aggregate report is attached.\r\n"


def mixed(*parts, kind="mixed", **changes):
    body = "".join(f"--=_b\r\n{part}\r\n" for part in parts)
    return f"{head(**changes)}Content-Type: multipart/{kind}; boundary=\"=_b\"\r\n\r\n{body}--=_b--\r\n".encode("latin-1")


def single(kind, content, name=None, **changes):
    return (head(**changes) + part(kind, content, name)).encode("latin-1")


def attached(kind="application/gzip", content=None, name=f"{NAME}.xml.gz", **more):
    return part(kind, gz(report()) if content is None else content, name, **more)


@fixture("mail/001-not-the-last-part.eml")
def _():
    return mixed(NOTE, attached(), "Content-Type: text/plain\r\n\r\n-- \r\nFooter of a list\r\n",
                 part("image/png", b"\x89PNG\r\n\x1a\n", "logo.png"))


@fixture("mail/002-several-reports.eml")
def _():
    return mixed(NOTE, attached(), attached("application/zip", zipped(("b.xml", report("r-2"))), "b.zip"),
                 attached("text/xml", report("r-3"), "c.xml"))


@fixture("mail/003-nothing-but-a-zip.eml")
def _():
    return single("application/zip", zipped((f"{NAME}.xml", report())), f"{NAME}.zip")


@fixture("mail/004-octet-stream.eml")
def _():
    return mixed(NOTE, attached("application/octet-stream"))


@fixture("mail/005-x-gzip.eml")
def _():
    return mixed(NOTE, attached("x-gzip"))


@fixture("mail/006-application-x-gzip.eml")
def _():
    return single("application/x-gzip", gz(report()), f"{NAME}.xml.gz")


@fixture("mail/007-x-zip-compressed.eml")
def _():
    return mixed(NOTE, attached("application/x-zip-compressed", zipped((f"{NAME}.xml", report())), f"{NAME}.zip"))


@fixture("mail/008-text-xml-around-a-gzip.eml")
def _():
    return mixed(NOTE, attached("text/xml; charset=\"utf-8\""))


@fixture("mail/009-contenttype.eml")
def _():
    return mixed(NOTE, attached(None, more=f"ContentType: application/gzip; name=\"{NAME}.xml.gz\"\r\n"))


@fixture("mail/010-inline.eml")
def _():
    return mixed(NOTE, attached(disposition="inline"))


@fixture("mail/011-date-in-a-part.eml")
def _():
    return mixed(NOTE, attached(more="Date: Mon, 1 Jan 2001 00:00:00 +0000\r\nMessage-ID: <part@receiver.example>\r\n"))


@fixture("mail/012-name-in-pieces.eml")
def _():
    pieces = "Content-Disposition: attachment;\r\n filename*0=\"receiver.example!example.com\";\r\n" \
             " filename*1=\"!1700000000!1700086399\";\r\n filename*2=\".xml.gz\"\r\n"
    return mixed(NOTE, attached(name=None, more=pieces))


@fixture("mail/013-name-in-percents.eml")
def _():
    pieces = "Content-Disposition: attachment;\r\n filename*0*=utf-8'de'Empf%C3%A4nger;\r\n filename*1*=%20%E2%82%AC;\r\n" \
             " filename*2=\".xml.gz\"\r\n"
    return mixed(NOTE, attached(name=None, more=pieces))


@fixture("mail/014-name-in-an-encoded-word.eml")
def _():
    return mixed(NOTE, attached(name="=?koi8-r?B?79TexdQ=?=.xml.gz"))


@fixture("mail/015-no-name.eml")
def _():
    return mixed(NOTE, attached(name=None))


@fixture("mail/016-forwarded.eml")
def _():
    inner = mixed(NOTE, attached()).decode("latin-1").replace("=_b", "=_inner")
    return mixed("Content-Type: text/plain\r\n\r\nSee below.\r\n", f"Content-Type: message/rfc822\r\n\r\n{inner}",
                 From="Ann <ann@example.com>", Subject="Fwd: report", Message_ID="<2@example.com>")


@fixture("mail/017-forwarded-as-attachments.eml")
def _():
    first = mixed(NOTE, attached())
    second = single("application/zip", zipped(("b.xml", report("r-2"))), "b.zip")
    return mixed("Content-Type: text/plain\r\n\r\nTwo.\r\n", part("message/rfc822", first, "first.eml"),
                 part("application/octet-stream", second, "second.eml"), From="Ann <ann@example.com>", Subject="reports")


@fixture("mail/018-base64-with-junk.eml")
def _():
    lines = b64(gz(report()), 40).splitlines()
    body = "!\r\n".join(lines[:3]) + " \r\n\t\r\n" + "\r\n*\r\n".join(lines[3:])
    return mixed(NOTE, attached(content=b"").rstrip() + "\r\n\r\n" + body)


@fixture("mail/019-base64-without-padding.eml")
def _():
    content = next(packed for n in range(1, 9) if len(packed := gz(report("r" * n))) % 3)
    return mixed(NOTE, attached(content=content).replace("=\r\n", "\r\n").replace("=\r\n", "\r\n"))


@fixture("mail/020-base64-not-declared.eml")
def _():
    return mixed(NOTE, attached().replace("Content-Transfer-Encoding: base64\r\n", ""))


@fixture("mail/021-7bit.eml")
def _():
    return mixed(NOTE, attached("text/xml", report().replace(b"\n", b"\r\n"), f"{NAME}.xml", encoding="7bit"))


@fixture("mail/022-8bit.eml")
def _():
    xml = report(org="Empfänger GmbH")
    return mixed(NOTE, attached("text/xml; charset=utf-8", xml, f"{NAME}.xml", encoding="8bit"))


@fixture("mail/023-quoted-printable.eml")
def _():
    xml = quopri.encodestring(report(org="Empfänger GmbH")).replace(b"\n", b"\r\n")
    return mixed(NOTE, attached("text/xml; charset=utf-8", xml, f"{NAME}.xml", encoding="quoted-printable"))


@fixture("mail/024-binary.eml")
def _():
    return mixed(NOTE, attached("application/gzip", gz(report()), encoding="binary"))


@fixture("mail/025-bare-lf.eml")
def _():
    return mixed(NOTE, attached()).replace(b"\r\n", b"\n")


@fixture("mail/026-bare-cr.eml")
def _():
    return mixed(NOTE, attached()).replace(b"\r\n", b"\r")


@fixture("mail/027-mixed-line-ends.eml")
def _():
    lines = mixed(NOTE, attached()).split(b"\r\n")
    return b"".join(line + (b"\r\n", b"\n", b"\r\r\n")[n % 3] for n, line in enumerate(lines))


@fixture("mail/028-mailbox-line.eml")
def _():
    return b"From reports@receiver.example Wed Nov 15 06:00:00 2023\r\n" + mixed(NOTE, attached())


@fixture("mail/029-two-mails.mbox")
def _():
    first = mixed(NOTE, attached())
    second = mixed(NOTE, attached(content=gz(report("r-2"))), Message_ID="<2@receiver.example>")
    line = b"From reports@receiver.example Wed Nov 15 06:00:00 2023\n"
    return b"\n".join(line + mail.replace(b"\r\n", b"\n") for mail in (first, second))


@fixture("mail/030-no-from-no-date.eml")
def _():
    return mixed(NOTE, attached(), From=None, Date=None, Message_ID=None)


@fixture("mail/031-broken-from-and-date.eml")
def _():
    return mixed(NOTE, attached(), From="<<reports@@receiver", Date="Wed, 45 Nov 2023 26:00 (no zone)", Message_ID="1 2")


@fixture("mail/032-empty-from-and-date.eml")
def _():
    return mixed(NOTE, attached(), From="", Date=" ", Message_ID="<>")


@fixture("mail/033-headers-in-encoded-words.eml")
def _():
    return mixed(NOTE, attached(), From="=?iso-2022-jp?B?GyRCRnxLXBsoQg==?= <reports@receiver.example>",
                 Subject="=?koi8-r?B?79TexdQ=?= =?windows-1252?Q?_=80?= =?x-none?Q?=FF?= =?utf-8?B?4p?= =?")


@fixture("mail/034-headers-in-raw-bytes.eml")
def _():
    return mixed(NOTE, attached(), From="Empf\xe4nger <reports@receiver.example>", Subject="Gr\xfc\xdfe \xff\xfe \x1b[31m")


@fixture("mail/035-tnef.eml")
def _():
    return mixed(NOTE, attached("application/ms-tnef", b"\x78\x9f\x3e\x22\x01\x00" + b"\0" * 40, "winmail.dat"))


@fixture("mail/036-smime-encrypted.eml")
def _():
    cms = b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03\xa0\x80" + b"\0" * 40
    return single("application/pkcs7-mime; smime-type=enveloped-data; name=\"smime.p7m\"", cms, "smime.p7m")


@fixture("mail/037-pgp-encrypted.eml")
def _():
    return mixed("Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n",
                 "Content-Type: application/octet-stream\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nhQ==\r\n"
                 "-----END PGP MESSAGE-----\r\n", kind="encrypted; protocol=\"application/pgp-encrypted\"")


@fixture("mail/038-smime-signed.eml")
def _():
    inner = mixed(NOTE, attached()).decode("latin-1").replace("=_b", "=_inner")
    inner = inner[inner.index("Content-Type"):]
    signature = part("application/pkcs7-signature", b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02", "smime.p7s")
    return mixed(inner, signature, kind="signed; protocol=\"application/pkcs7-signature\"")


@fixture("mail/039-unclosed.eml")
def _():
    return mixed(NOTE, attached()).replace(b"--=_b--\r\n", b"")


@fixture("mail/040-wrong-boundary.eml")
def _():
    return mixed(NOTE, attached()).replace(b"boundary=\"=_b\"", b"boundary=\"other\"")


@fixture("mail/041-no-report-in-it.eml")
def _():
    return mixed("Content-Type: text/plain\r\n\r\nHello.\r\n", Subject="Lunch", From="Ann <ann@example.com>")


@fixture("mail/042-cut-off.eml")
def _():
    whole = mixed(NOTE, attached(content=gz(noisy(40))))
    return whole[:len(whole) * 3 // 4]


@fixture("mail/043-hostile-names.eml")
def _():
    return mixed(NOTE, attached(name="../../etc/\x1b[31m\u0085cron.d/x\x07".encode().decode("latin-1") + "n" * 300),
                 From="\"\x1b]0;owned\x07\" <a\x08b@receiver.example>", Message_ID="<1\x00\x7f@receiver.example>")


# Parts and containers that are not what they claim to be, or that are not taken apart by most tools


@fixture("mail/060-base64-declared-and-plain.eml")
def _():
    plain = part("text/xml", report(), f"{NAME}.xml", encoding="").replace("\r\n\r\n", "\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1)
    return mixed(NOTE, plain)


@fixture("mail/061-base64-of-xml-not-declared.eml")
def _():
    return mixed(NOTE, part("text/xml", b64(report()).encode(), f"{NAME}.xml", encoding=""))


@fixture("mail/062-base64-twice.eml")
def _():
    return mixed(NOTE, attached(content=b64(gz(report())).encode()))


@fixture("mail/063-other-files.eml")
def _():
    return mixed(NOTE, part("text/x-vcard", b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ann\r\nEND:VCARD\r\n", "ann.vcf"), attached(),
                 part("application/pdf", b"%PDF-1.7\n%%EOF\n", "about.pdf"),
                 part("application/octet-stream", b"Confidential.\r\n", "notice.txt"),
                 part("application/vnd.ms-excel", COMPOUND + bytes(504), "rows.xls"))


@fixture("container/060-other-files.zip")
def _():
    return zipped(("README", b"Open the XML file."), ("desktop.ini", b"[.ShellClassInfo]"), (f"{NAME}.xml", report()),
                  (f"__MACOSX/._{NAME}.xml", b"\x00\x05\x16\x07"), ("manual.pdf", b"%PDF-1.7\n"))


COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def der(tag, *content):
    content = b"".join(content)
    length = len(content)
    head = bytes([length]) if length < 128 else b"\x82" + struct.pack(">H", length)
    return bytes([tag]) + head + content


def ber(tag, *content):
    return bytes([tag, 0x80]) + b"".join(content) + b"\0\0"


def signed(wrap, octets):
    """CMS signed data without certificates and signatures."""
    data, signed_data = (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07" + bytes([kind]) for kind in (1, 2))
    content = wrap(0x30, data, wrap(0xa0, octets))
    return wrap(0x30, signed_data, wrap(0xa0, wrap(0x30, b"\x02\x01\x01", der(0x31), content, der(0x31))))


def entity():
    """The MIME entity that is signed."""
    return mixed(NOTE, attached(content=gz(report()))).replace(b"=_b", b"=_signed").split(b"\r\n", len(HEAD))[-1]


@fixture("mail/064-smime-opaque-signed.eml")
def _():
    return single("application/pkcs7-mime; smime-type=signed-data; name=\"smime.p7m\"", signed(der, der(4, entity())), "smime.p7m")


@fixture("mail/065-smime-opaque-signed-in-pieces.eml")
def _():
    whole = entity()
    pieces = [der(4, whole[at:at + 100]) for at in range(0, len(whole), 100)]
    return single("application/x-pkcs7-mime; smime-type=signed-data", signed(ber, ber(0x24, *pieces)), "smime.p7m")


@fixture("container/061-smime-opaque-signed.pem")
def _():
    return f"-----BEGIN CMS-----\n{b64(signed(der, der(4, entity())), 64)}-----END CMS-----\n".encode()


def compound(storages):
    """A compound file of 512-byte sectors: a storage for each name, with streams in it, in the mini stream if they are short."""
    entries, streams, mini = [["Root Entry", 5, None, []]], [], b""
    for name, parts in storages:
        storage = [name, 1, None, []]
        entries.append(storage)
        entries[0][3].append(len(entries) - 1)
        for stream, content in parts:
            entries.append([stream, 2, content, []])
            (storage if name else entries[0])[3].append(len(entries) - 1)
    entries[0][3].append(len(entries))
    entries.append(["__properties_version1.0", 2, bytes(32), []])
    mini_fat, fat, sectors = [], [], []

    def chain(content):
        first = len(sectors)
        pieces = [content[at:at + 512].ljust(512, b"\0") for at in range(0, len(content), 512)]
        sectors.extend(pieces)
        fat.extend(range(first + 1, first + len(pieces)))
        fat.append(0xfffffffe)
        return first

    placed = []
    for name, kind, content, children in entries:
        start, size = 0xfffffffe, 0
        if kind == 2:
            size = len(content)
            if size < 4096:
                start = len(mini) // 64
                count = -(-size // 64)
                mini += content.ljust(64 * count, b"\0")
                mini_fat += [*range(start + 1, start + count), 0xfffffffe]
            else:
                start = chain(content)
        placed.append([name, kind, start, size, children])
    placed[0][2:4] = chain(mini), len(mini)
    mini_start = chain(struct.pack(f"<{len(mini_fat)}I", *mini_fat))
    # The siblings of a storage are a list that leans to the right.
    right, child = {}, {}
    for number, (_, _, _, _, children) in enumerate(placed):
        for one, other in zip(children, children[1:] + [0xffffffff]):
            right[one] = other
        child[number] = children[0] if children else 0xffffffff
    directory = b""
    for number, (name, kind, start, size, _) in enumerate(placed):
        wide = name.encode("utf-16-le")
        directory += wide.ljust(64, b"\0") + struct.pack("<HBBIII", len(wide) + 2, kind, 1, 0xffffffff, right.get(number, 0xffffffff), child[number])
        directory += bytes(36) + struct.pack("<IQ", start, size)
    directory_start = chain(directory)
    fat_sector = len(sectors)
    fat.append(0xfffffffd)
    assert len(fat) <= 128
    sectors.append(struct.pack("<128I", *fat, *[0xffffffff] * (128 - len(fat))))
    head = COMPOUND + bytes(16) + struct.pack("<HHHHH6xII", 0x3e, 3, 0xfffe, 9, 6, 0, 1)
    head += struct.pack("<IIIIIII", directory_start, 0, 4096, mini_start, 1, 0xfffffffe, 0)
    head += struct.pack("<109I", fat_sector, *[0xffffffff] * 108)
    return head + b"".join(sectors)


def outlook(*attachments):
    storages = []
    for number, (name, content) in enumerate(attachments):
        storages.append((f"__attach_version1.0_#{number:08X}", [
            ("__properties_version1.0", bytes(8)),
            ("__substg1.0_37010102", content),
            ("__substg1.0_3707001F", name.encode("utf-16-le")),
        ]))
    return compound(storages)


@fixture("mail/066-outlook-message.eml")
def _():
    # A comment that does not deflate to less than what is kept in the mini stream.
    noise = b"".join(b"%08x" % (n * 2654435761 % (1 << 32)) for n in range(1500))
    long = report("r-2").replace(b"<feedback>", b"<feedback><!-- " + noise + b" -->")
    message = outlook(("logo.png", b"\x89PNG"), (f"{NAME}.xml.gz", gz(report())), ("r-2.xml.gz", gz(long)))
    return mixed(NOTE, part("application/vnd.ms-outlook", message, "Report domain.msg"))


@fixture("container/062-outlook-message-cut-off.msg")
def _():
    return outlook((f"{NAME}.xml.gz", gz(report())))[:1500]


@fixture("container/063-base64-text.txt")
def _():
    return b64(gz(report())).encode()


@fixture("container/064-no-directory-and-descriptors.zip")
def _():
    whole = zipped(("a.xml", report("r-1")), ("b.xml", report("r-2")), stream=True)
    return whole[:whole.index(b"PK\x01\x02")]


@fixture("container/065-cut-off-in-the-second-member.zip")
def _():
    whole = zipped(("a.xml", report("r-1")), ("b.xml", noisy(12).replace(b"r-1", b"r-2")))
    return whole[:len(whole) * 3 // 4]


@fixture("container/066-arj.arj")
def _():
    return b"\x60\xea\x28\x00" + bytes(60)


@fixture("mail/067-bounce-of-our-report.eml")
def _():
    own = mixed(NOTE, attached(name="example.com!other.example!1700000000!1700086399.xml.gz"),
                Subject="Report Domain: other.example Submitter: example.com Report-ID: <own-1>").replace(b"=_b", b"=_own")
    return mixed("Content-Type: text/plain\r\n\r\nYour mail could not be delivered.\r\n",
                 "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.other.example\r\n\r\n"
                 "Final-Recipient: rfc822; rua@other.example\r\nAction: failed\r\nStatus: 5.1.1\r\n",
                 f"Content-Type: message/rfc822\r\n\r\n{own.decode('latin-1')}", kind="report; report-type=delivery-status",
                 From="Mail Delivery System <MAILER-DAEMON@mx.other.example>",
                 Subject="Undelivered: Report Domain: other.example Submitter: example.com Report-ID: <own-1>")


@fixture("mail/060-dates-in-any-form.mbox")
def _():
    dates = ["Wed, 15 Nov 2023 07:30:15 GMT+01:00", "2023-11-15T12:00:15+05:30", "Wed Nov 15 06:30:15 2023",
             "wed, 15 november 23 1:30:15 am EST (winter)", "Wed, 15 Nov 2023 24:00:00 +0000",
             "Wed, 15 Nov 2023 08:30:15 CEST", "15/11/2023 06:30:15", "Thu, 15 Nov 2023 06:30:15 -0000"]
    mails = [mixed(NOTE, attached(content=gz(report(f"date-{n}"))), Date=date, Message_ID=f"<date-{n}@receiver.example>")
             for n, date in enumerate(dates)]
    mails.append(mixed(NOTE, attached(content=b"PK\x03\x04", name="receiver.example!example.com!1!2.zip"), Date="someday",
                       Message_ID="<date-none@receiver.example>"))
    line = b"From reports@receiver.example Wed Nov 15 06:00:00 2023\n"
    return b"\n".join(line + mail.replace(b"\r\n", b"\n") for mail in mails)


# Several documents in one, and mails in archives

def mboxed(*mails):
    """An mbox with CRLF, whose writer quotes lines that begin with `From `."""
    quoted = (b"\r\n".join(b">" + line if line.lstrip(b">").startswith(b"From ") else line for line in mail.split(b"\r\n"))
              for mail in mails)
    return b"".join(b"From reports@receiver.example Wed Nov 15 06:00:00 2023\r\n" + mail + b"\r\n" for mail in quoted)


def letter(number):
    """A mail with its own header and report; a line of its text is quoted in an mbox."""
    note = "Content-Type: text/plain\r\n\r\nFrom here on: the report.\r\n"
    return mixed(note, attached(content=gz(report(f"r-{number}"))), Message_ID=f"<{number}@receiver.example>",
                 From=f"reports-{number}@receiver.example", Date=f"Wed, 15 Nov 2023 0{number}:00:00 +0000")


def tls(id):
    return (f"{{\"organization-name\": \"Receiver Example\", \"date-range\": {{\"start-datetime\": \"2023-11-14T00:00:00Z\", "
            f"\"end-datetime\": \"2023-11-14T23:59:59Z\"}}, \"report-id\": \"{id}\", \"policies\": [{{\"policy\": {{\"policy-type\": "
            f"\"sts\", \"policy-domain\": \"example.com\"}}, \"summary\": {{\"total-successful-session-count\": 5, "
            f"\"total-failure-session-count\": 0}}}}]}}").encode()


@fixture("container/050-mailbox-in-a-gzip.mbox.gz")
def _():
    return gz(mboxed(letter(1), letter(2)))


@fixture("container/051-mails-in-a-zip.zip")
def _():
    return zipped(("a.eml", letter(1)), ("in/b.eml", letter(2)))


@fixture("container/052-mailbox-in-a-mail-in-a-tar.tar")
def _():
    return tarred(("a.eml", mixed(NOTE, part("application/mbox", mboxed(letter(1), letter(2)), "old.mbox"))))


@fixture("container/053-several-documents.xml.gz")
def _():
    return gz(report("r-1") + report("r-2").split(b"\n", 1)[1] + b"\xef\xbb\xbf" + report("r-3"))


@fixture("container/054-another-document-cut-off.xml")
def _():
    return report("r-1")[:-60] + report("r-2") + b"and so on\n"


@fixture("container/055-byte-order-mark-before-a-mail.gz")
def _():
    return gz(b"\xef\xbb\xbf" + letter(1))


@fixture("container/056-more-behind-the-gzip.gz")
def _():
    return gz(report("r-1")) + zipped((f"{NAME}.xml", report("r-2")))


@fixture("tls_rpt/050-json-lines.json")
def _():
    return tls("t-1") + b"\n" + tls("t-2") + b"\n"


@fixture("tls_rpt/051-array.json")
def _():
    return b"[" + tls("t-1") + b",\n " + tls("t-2") + b"]\n"


# Reports that are not attached

def uuencoded(content, name):
    lines = (binascii.b2a_uu(content[at:at + 45]).decode().rstrip() for at in range(0, len(content), 45))
    return "\r\n".join([f"begin 644 {name}", *lines, "`", "end", ""])


@fixture("mail/050-byte-order-mark.eml")
def _():
    return b"\xef\xbb\xbf" + letter(1)


@fixture("mail/051-xml-behind-a-greeting.eml")
def _():
    text = "Hello,\r\nhere are two:\r\n\r\n".encode() + report("r-1") + b"\nand\n" + report("r-2") + b"-- \nReceiver Example\n"
    return (head(Subject="Here you are") + part("text/plain", quopri.encodestring(text), encoding="quoted-printable").replace(
        "\n", "\r\n").replace("\r\r", "\r")).encode()


@fixture("mail/052-json-behind-a-greeting.eml")
def _():
    return single("text/plain", b"Hello,\r\n\r\n" + tls("t-1") + b"\r\n\r\nBye\r\n")


@fixture("mail/053-uuencode-behind-a-greeting.eml")
def _():
    return (head() + "\r\nHello,\r\n\r\n" + uuencoded(gz(report()), f"{NAME}.xml.gz") + "\r\nBye\r\n").encode()


@fixture("mail/054-x-uuencode.eml")
def _():
    return mixed(NOTE, part("application/octet-stream", uuencoded(gz(report()), "a.gz").encode(), f"{NAME}.xml.gz", "x-uuencode"))


@fixture("mail/055-xml-in-html.eml")
def _():
    escaped = report().decode().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\"", "&#34;")
    return single("text/html; charset=utf-8", f"<html><body><p>Hello,</p><pre>{escaped}</pre></body></html>\r\n".encode())


@fixture("mail/056-content-type-twice.eml")
def _():
    return mixed(NOTE, attached()).replace(b"Content-Type: multi", b"Content-Type: text/plain\r\nContent-Type: multi", 1)


@fixture("mail/057-no-boundary-parameter.eml")
def _():
    return mixed(NOTE, attached()).replace(b"; boundary=\"=_b\"\r\n\r\n", b"\r\n\r\nThis is a multi-part message.\r\n", 1)


@fixture("mail/058-behind-the-last-part.eml")
def _():
    return mixed(NOTE) + b"\r\n" + uuencoded(gz(report()), f"{NAME}.xml.gz").encode()


@fixture("mail/059-attachment-removed.eml")
def _():
    return mixed("Content-Type: text/plain\r\n\r\nThe attachment was removed.\r\n")


@fixture("mail/060-text-for-people-in-html.eml")
def _():
    return single("text/html", b"<html><body><p>A message claiming to be from you has failed the policy of your domain.</p><table>"
                  b"<tr><td>Sender Domain: example.com</td></tr><tr><td>Sender IP Address: 192.0.2.30</td></tr>"
                  b"<tr><td>SPF Alignment: no</td></tr><tr><td>DMARC Results: Reject</td></tr></table></body></html>\r\n")


def main(names):
    for path in names or FIXTURES:
        (HERE / path).write_bytes(FIXTURES[path]())


main(sys.argv[1:])
