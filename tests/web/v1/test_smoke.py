from tests.conftest import Api, paths


def test_a_day(api: Api) -> None:
    done = api.completion(tags=["a"], request={"messages": []})
    task = api.task(["a"], {"type": "object", "required": ["x"]})
    assert api.ungraded() == [done["id"]]
    assert paths(api.post("/feedback", json={"task_id": task["id"], "json_values": {}, "completion_tags_selector": ["a"]}), 422, "values_refused")
    api.upload(task["id"], json_values={"x": 1}, completion_tags_selector=["a"])
    assert api.ungraded() == []
