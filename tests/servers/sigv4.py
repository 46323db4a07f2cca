"""AWS Signature Version 4, from the receiver's side, by its documentation alone.

docs.aws.amazon.com, "Create a signed AWS API request". The payload hash covers the whole body, the
path is encoded once more (all services but S3), the query is sorted after it was encoded.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import calendar
import hashlib
import hmac
import re
import time
import urllib.parse

from misbehave import Failure, demand

ALGORITHM = "AWS4-HMAC-SHA256"
UNRESERVED = "-_.~"
# Seconds that a request's date may be away from the service's clock.
TOLERANCE = 300
AUTHORIZATION = re.compile(
    ALGORITHM + r" Credential=([^/, ]+)/(\d{8})/([^/, ]+)/([^/, ]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})")


def canonical_query(query):
    pairs = [piece.partition("=")[::2] for piece in query.split("&") if piece]
    encoded = [tuple(urllib.parse.quote(urllib.parse.unquote(text), UNRESERVED) for text in pair)
               for pair in pairs]
    return "&".join(f"{name}={value}" for name, value in sorted(encoded))


def canonical_fields(fields, signed):
    lines = []
    for wanted in signed:
        values = [" ".join(value.split()) for name, value in fields if name == wanted]
        demand(values, f"the header {wanted} is signed, but absent", "signature")
        lines.append(f"{wanted}:{','.join(values)}\n")
    return "".join(lines)


def signature(request, signed, secret, date, scope):
    """Of a Request: date as in X-Amz-Date, scope as (day, region, service)."""
    path, _, query = request.path.partition("?")
    canonical = "\n".join([request.method, urllib.parse.quote(path, "/" + UNRESERVED),
                           canonical_query(query), canonical_fields(request.fields, signed),
                           ";".join(signed), hashlib.sha256(request.body).hexdigest()])
    scope = (*scope, "aws4_request")
    to_sign = "\n".join([ALGORITHM, date, "/".join(scope),
                         hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in scope:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def check_date(date, now):
    demand(re.fullmatch(r"\d{8}T\d{6}Z", date), "X-Amz-Date is not like 20150830T123600Z",
           "signature")
    away = calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ")) - now
    if abs(away) > TOLERANCE:
        what = "not yet current" if away > 0 else "expired"
        raise Failure("signature", f"Signature {what}: {date} is {abs(away):.0f} s away")


def must_be_signed(fields):
    return {name for name, _ in fields
            if name in ("host", "content-type") or name.startswith("x-amz-")}


def verify(request, keys, region, service, now):
    """keys: secret access key of each key id; region: None = any. Raises the service's answer."""
    demand("authorization" in request.headers, "no Authorization", "denied")
    parsed = AUTHORIZATION.fullmatch(request.headers["authorization"])
    demand(parsed, "Authorization is not of the documented form", "signature")
    key_id, day, in_region, in_service, signed, given = parsed.groups()
    dates = [value for name, value in request.fields if name == "x-amz-date"]
    demand(len(dates) == 1, f"{len(dates)} headers X-Amz-Date", "signature")
    demand(in_service == service and region in (None, in_region),
           "the scope is of another region or service", "signature")
    demand(dates[0][:8] == day, "the scope's day is not that of X-Amz-Date", "signature")
    signed = signed.split(";")
    demand(signed == sorted(set(signed)), "SignedHeaders are not sorted", "signature")
    missing = must_be_signed(request.fields) - set(signed)
    demand(not missing, f"not signed: {', '.join(sorted(missing))}", "signature")
    check_date(dates[0], now)
    if key_id not in keys:
        raise Failure("denied", "The security token included in the request is invalid.")
    right = signature(request, signed, keys[key_id], dates[0], (day, in_region, service))
    demand(hmac.compare_digest(right, given), "the signature does not match", "signature")
