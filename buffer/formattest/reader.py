"""Prints what `hydrant buffer dump DIR` prints. Written from FORMAT.md alone, with the standard library alone."""
import base64, json, os, struct, sys

TABLE = []
for i in range(256):
    for _ in range(8):
        i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
    TABLE.append(i)

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF

class Fields:
    def __init__(self, data):
        self.data, self.at = data, 0
    def take(self, n):
        if self.at + n > len(self.data):
            raise ValueError("ends before its last field")
        self.at += n
        return self.data[self.at - n:self.at]
    def get(self, form):
        values = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))
        return values[0] if len(values) == 1 else values
    def str(self):
        return self.take(self.get("I"))
    def uvarint(self):
        byte = self.get("B")
        return byte if byte < 128 else byte - 128 + (self.uvarint() << 7)
    def varint(self):
        value = self.uvarint()
        return value >> 1 ^ -(value & 1)
    def identity(self):
        return "{}-{}-{}.{}".format(log_text(self.take(10)), self.take(4).hex(), *self.get("QI"))

def log_text(log):
    return base64.b32encode(log).decode().lower().rstrip("=")

def text(key, data):
    try:
        return {key: data.decode()}
    except UnicodeDecodeError:
        return {key + "64": base64.b64encode(data).decode()}

def put(*parts):
    line = {}
    for part in parts:
        line.update(part)
    print(json.dumps(line, ensure_ascii=False, separators=(",", ":")))

def note(kind, body):
    f = Fields(body)
    if kind == 1:
        return {**text("source", f.str()), **text("key", f.str()), **text("position", f.str())}
    if kind == 2:
        known = {"hash": f.take(16).hex(), "digest": f.take(8).hex(), "time": f.get("q"), "first": f.get("Q"), "count": f.get("I")}
        return {**known, "offsets": [f.get("I") for _ in range(known["count"])]} if f.get("B") else known
    if kind == 3:
        return {"shard": f.get("I"), "lo": f.take(16).hex(), "hi": f.take(16).hex(), "created": f.get("q"),
                "parents": [f.get("I") for _ in range(f.get("I"))]}
    if kind == 4:
        return dict(zip(("shard", "time", "end"), f.get("IqQ")))
    if kind == 5:
        return {**text("name", f.str()), "last": f.identity(), **text("state", f.str())}
    if kind == 6:
        return dict(zip(("pairs", "sets"), attributes(body)))
    if kind == 7:
        return {name: {"records": f.get("q"), "bytes": f.get("q")} for name in ("appended", "damaged")}
    if kind == 8:
        return {"position": f.get("Q")}
    return {"body64": base64.b64encode(body).decode()}

def attributes(body):
    f = Fields(body)
    pairs = [{**text("name", f.str()), **text("value", f.str())} for _ in range(f.get("I"))]
    return pairs, [[f.get("I") for _ in range(f.get("H"))] for _ in range(f.get("I"))]

def records(block, run, stored, attrs):
    shard, count, first, _, meta_len, _, _, flags = run
    meta, data, columns = Fields(stored[:meta_len]), Fields(stored[meta_len:]), {}
    for flag in range(24):
        if flags >> flag & 1:
            columns[flag] = Fields(meta.str())
    for i in range(count):
        line = {"pos": block["base"] + first + i, "shard": shard, "time": block["time"]}
        key = columns[0].uvarint() if 0 in columns else 0
        key = text("key", columns[0].take(key - 1)) if key else {}
        line["time"] += columns[1].varint() if 1 in columns else 0
        origin = {"origin": columns[2].identity()} if 2 in columns and columns[2].get("B") else {}
        chosen = columns[3].uvarint() if 3 in columns else 0
        chosen = {"attrs": [attrs[0][j] for j in attrs[1][chosen - 1]]} if chosen else {}
        if 4 in columns and columns[4].get("B") & 1:
            line["partial"] = True
        put(line, key, origin, chosen, text("data", data.str()))

def head(data, at, salt):
    """The head of the block at an offset, its directory and its notes crc; None if there is no valid one."""
    if data[at:at + 4] != b"HYBK" or at + 64 > len(data):
        return None
    crc, length, kind, must, runs, base, count, notes_len, time, wall, run, seq, notes_crc, _ = struct.unpack(
        "<IIBBHQIIqq4sIII", data[at + 4:at + 64])
    if crc32c(salt + data[at + 8:at + 64 + 32 * runs]) != crc or at + length > len(data):
        return None
    if must or kind not in (1, 2):
        sys.exit("written by a newer version")
    block = {"block": at, "kind": ["", "data", "checkpoint"][kind], "base": base, "count": count, "time": time, "wall": wall,
             "run": run.hex(), "seq": seq, "length": length}
    return block, [struct.unpack("<8I", data[at + 64 + 32 * i:at + 96 + 32 * i]) for i in range(runs)], notes_len, notes_crc

def block(data, at, salt, found):
    info, runs, notes_len, notes_crc = found
    put(info)
    start = at + 64 + 32 * len(runs)
    notes, attrs = Fields(data[start:start + notes_len]), None
    if crc32c(salt + notes.data) != notes_crc:
        put({"damage": start, "part": "notes", "bytes": notes_len})
        notes.at = notes_len
    while notes.at < notes_len:
        kind, flags, body = notes.get("H"), notes.get("H"), notes.str()
        put({"note": kind, "flags": flags}, note(kind, body))
        attrs = attributes(body) if kind == 6 else attrs
    for run in runs:
        shard, _, _, offset, meta_len, data_len, crc, flags = run
        stored = data[at + offset:at + offset + meta_len + data_len]
        if crc32c(salt + stored) != crc or flags & 8 and not attrs:
            put({"damage": at + offset, "part": "run", "bytes": meta_len + data_len, "shard": shard})
            continue
        records(info, run, stored, attrs)

def header(path, magic):
    data = open(path, "rb").read()
    if data[:8] != magic or crc32c(data[:508]) != struct.unpack("<I", data[508:512])[0]:
        return None, data
    if struct.unpack("<H", data[8:10])[0] > 1:
        sys.exit(path + ": written by a newer version")
    return Fields(data[10:512]), data

def log(folder):
    segments, broken = [], []
    for name in sorted(n for n in os.listdir(folder) if n.endswith(".seg")):
        f, data = header(os.path.join(folder, name), b"HYDRLOG1")
        if not f:
            broken.append({"damage": 0, "part": "header", "file": name})
            continue
        shift, cipher, run, log_id, salt, base, created, _, opening, must, _ = f.get("BB4s10s6x16sQq16sIII")
        if must or cipher or shift != 9:
            sys.exit(name + ": written by a newer version")
        line = {"segment": name, "run": run.hex(), "log": log_text(log_id), "base": base, "created": created, "opening": opening}
        segments.append((opening, base, name, line, salt, data))
    for _, _, _, line, salt, data in sorted(segments):
        put(line)
        at, end, last = 512, 512, -1
        while at + 64 <= len(data):
            found = head(data, at, salt)
            if not found or found[0]["seq"] <= last:
                at += 512
                continue
            if at > end:
                put({"damage": end, "part": "head", "bytes": at - end})
            block(data, at, salt, found)
            at = end = at + found[0]["length"]
            last = found[0]["seq"]
    for line in broken:
        put(line)

def cursors(folder):
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        f, data = header(os.path.join(folder, name), b"HYDRCUR1") if name.endswith((".a", ".b")) else (None, b"")
        if not f:
            continue
        generation, salt, log_id = f.get("6xQ16s10s")
        put({"cursor": name, "generation": generation, "log": log_text(log_id)})
        at, last = 512, 0
        while at + 26 <= len(data):
            crc, length, seq, committed, _ = struct.unpack("<IIQQH", data[at:at + 26])
            if length < 26 or at + length > len(data) or crc32c(salt + data[at + 4:at + length]) != crc or seq != last + 1:
                break
            put({"frame": at, "seq": seq, "committed": committed})
            entries = Fields(data[at + 26:at + length])
            while entries.at < len(entries.data):
                put({"entry": entries.get("B"), "body64": base64.b64encode(entries.str()).decode()})
            at, last = (at + length + 63) // 64 * 64, seq

def stream(folder):
    log(os.path.join(folder, "log"))
    cursors(os.path.join(folder, "cursors"))

def main(folder):
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    streams = os.path.join(folder, "streams")
    for name in sorted(os.listdir(streams)) if os.path.isdir(streams) else []:
        put({"stream": name})
        stream(os.path.join(streams, name))
    if not os.path.isdir(streams):
        stream(folder) if os.path.isdir(os.path.join(folder, "log")) else log(folder)

main(sys.argv[1])
