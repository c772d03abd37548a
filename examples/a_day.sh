#!/bin/sh
# A whole day with log10-server: log completions, create a task, give feedback, look at the usage, and export.
#
# Needs a running server, its three `export` lines, curl, and the unmodified client: pip install 'log10-io[cli]==0.16.1'
# It calls no LLM; the client's own `mock_chat_completions` takes its place.
set -eu

echo "== Morning: a program logs its LLM calls"
python3 - <<'PYTHON'
from log10.completions import Completions
from log10.load import log10_session, log10_tags

answers = {"Oslo": "Cold, but clear.", "Lima": "Mild.", "Cairo": "I don't know."}
with log10_session(tags=["weather"]), log10_tags(["example-day"]):
    for city, answer in answers.items():
        question = [{"role": "user", "content": f"How is the weather in {city}?"}]
        Completions().mock_chat_completions("gpt-4o", question, answer, tags=["weather", "example-day", city])
PYTHON
log10 completions list --tags example-day

echo "== Noon: a task says which feedback is wanted, and on which completions"
task=$(log10 feedback-task create --name "Weather" --instruction "Is it an answer at all, from 1 to 5?" \
  --task_schema '{"type": "object", "properties": {"grade": {"type": "integer", "minimum": 1, "maximum": 5}}, "required": ["grade"]}' \
  --completion_tags_selector example-day | sed -n 's/^Use this task_id to add feedback: //p')
ask() {
  path=$1
  shift
  curl -sS --fail-with-body -H "X-Log10-Token: $LOG10_TOKEN" "$@" "$LOG10_URL/api/v1$path"
}
echo "Ungraded:" "$(ask "/completions/ungraded?task_id=$task" | grep -o '"organization_id":' | wc -l)"

echo "== Afternoon: feedback is given from the command line"
log10 feedback create --task_id "$task" --values '{"grade": 5}' --completion_tags_selector Oslo --comment ""
log10 feedback create --task_id "$task" --values '{"grade": 4}' --completion_tags_selector Lima --comment ""
log10 feedback create --task_id "$task" --values '{"grade": 1}' --completion_tags_selector Cairo --comment "That is no answer."
log10 feedback list --task_id "$task"
echo "Ungraded: $(ask "/completions/ungraded?task_id=$task")"

echo "== Evening: the usage, and an export of the good completions"
echo "Usage: $(ask "/usage?group_by=model&tag=example-day")"
ask /export/training -G --data-urlencode "task_id=$task" --data-urlencode "filter=grade >= 4" >training.jsonl
ask /export >everything.jsonl
wc -l training.jsonl everything.jsonl
