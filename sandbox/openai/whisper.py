"""Transcribes files with faster-whisper. One JSON request a line on stdin, one JSON answer a line on stdout."""

import json
import os
import sys

# Nothing is ever fetched: the model is a folder on this machine.
os.environ["HF_HUB_OFFLINE"] = "1"

try:
    from faster_whisper import WhisperModel
except ImportError as error:
    print(json.dumps({"fatal": f"faster-whisper cannot be imported: {error}"}), flush=True)
    sys.exit(1)

try:
    model = WhisperModel(sys.argv[1], device="cpu", compute_type="int8", cpu_threads=2, local_files_only=True)
except Exception as error:  # whatever is wrong with the model, the caller wants to read it
    print(json.dumps({"fatal": f"the model {sys.argv[1]} cannot be loaded: {error}"}), flush=True)
    sys.exit(1)

print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    try:
        segments, info = model.transcribe(
            request["path"], language=request.get("language"), vad_filter=True, beam_size=5, condition_on_previous_text=False
        )
        answer = {
            "language": info.language,
            "duration": info.duration,
            "segments": [{"start": s.start, "end": s.end, "text": s.text.strip()} for s in segments],
        }
    except Exception as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
