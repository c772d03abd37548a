"""Hypothesis strategies for JSON in which the names that providers use turn up in every place, with any value."""

from hypothesis import strategies as st

_NAMES = (
    "model modelId modelVersion usage usageMetadata usage_metadata response meta tokens billed_units prompt_tokens "
    "input_tokens output_tokens cache_read_input_tokens inputTokens promptTokenCount thoughtsTokenCount eval_count "
    "amazon-bedrock-invocationMetrics messages role content type text tool_calls id function name arguments tool_call_id "
    "tools functions function_call choices index message delta refusal input instructions output call_id contents parts "
    "functionCall functionResponse inlineData mimeType data args systemInstruction candidates config system tool_use_id "
    "input_schema source image_url url prompt completion chat_history preamble parameters toolUse toolResult toolConfig "
    "toolSpec inputSchema json functionDeclarations annotations groundingMetadata"
)
_WORDS = (
    "system developer user assistant tool function model USER CHATBOT text image image_url input_text output_text "
    "input_image tool_use tool_result function_call function_call_output message reasoning web_search custom thinking "
    "image/png call_1 add {} https://example.com/a.png"
)

_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=0, max_value=9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(_WORDS.split())
)
_names = st.sampled_from(_NAMES.split()) | st.text(max_size=5)

any_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=5),
    max_leaves=20,
)
json_objects = st.dictionaries(_names, any_json, max_size=6)
