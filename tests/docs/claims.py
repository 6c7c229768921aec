"""Each claim of the README and of "What happened to my turn?", beside the test that holds it.

A claim is quoted as far as it is needed to find it. `test_claims` checks that the page says it, that the test is there,
and that no row and no rule of the pages is left out.
"""

# ruff: noqa: E501 (a row is a line)
from __future__ import annotations

STREAM = "tests/session/test_turn_stream.py"
BASELINE = "tests/session/test_baseline.py"
BUSY = "tests/session/test_busy.py"
EVIDENCE = "tests/session/test_evidence.py"
FAULTS = "tests/faults/test_simulated.py"
HANDLED = f"{FAULTS}::test_any_faults_on_any_service_are_told_truly_and_no_prompt_is_sent_twice"

README: list[tuple[str, str]] = [
    ("makes a hosted chat session a **LlamaIndex chat engine**", "tests/docs/test_docs.py::test_the_code_of_the_page_runs"),
    ("asks example documents a question: no key, no model", "tests/cli/commands/test_demo.py::*"),
    ("need Python 3.11 or later and `make`", "tests/docs/test_paths.py::test_every_make_target_that_the_page_names_exists"),
    ("pip install '.[llama-index,langchain,server,cli]'", "scripts/release_check.py::check"),
    ("## A first answer, without a key", "tests/docs/test_docs.py::test_the_way_to_a_first_answer_needs_no_key_in_each_framework"),
    ("it finds the passages that fit and quotes them", "tests/server/agents/test_local_agent.py::*"),
    ("one session, two frameworks", "tests/docs/test_docs.py::test_the_code_of_the_page_runs"),
    ("opens [a page](docs/web.md) over your files", "tests/cli/commands/test_ui.py::*"),
    ("Tokens arrive as the service writes them", f"{STREAM}::test_the_first_event_is_here_before_the_second_is_sent"),
    ("in every surface, sync and async", "tests/faults/test_adapters.py::test_a_turn_cut_around_each_event_is_whole_through_each_entry_point"),
    ("**You see the remote tools.** Each tool run is a trace in your framework's callbacks", "tests/llama_index/test_trace_contents.py::*"),
    ("file, page, score, page image", "tests/test_local_server.py::test_a_question_about_page_3_of_a_pdf_has_that_page_as_its_source_and_a_screenshot_that_opens"),
    ("A prompt is sent once", HANDLED),
    ("A stream that breaks is looked up in its session", f"{STREAM}::test_a_stream_that_ends_without_stop_is_finished_from_the_session"),
    ("or a precise error: failed, interrupted, stalled, or unknown", "tests/faults/test_faults.py::test_each_fault_that_no_client_can_mend_is_the_error_that_says_so"),
    ("A session is yours by its id", "tests/test_local_server.py::test_a_session_is_the_same_from_another_client_sync_or_async"),
    ("and the command line", "tests/cli/commands/test_names.py::test_a_session_of_another_service_is_found_by_its_beginning"),
]  # fmt: skip

TURNS: list[tuple[str, str]] = [
    ("A prompt is posted once", HANDLED),
    ("the connection was refused, or the answer was a 429", f"{STREAM}::test_a_turn_refused_for_now_is_posted_again_because_it_was_not_taken"),
    ("a 409 of a session that was busy", f"{BUSY}::test_the_turn_after_one_that_was_left_waits_for_its_end_and_is_sent_again"),
    ("The end of a turn is its `stop` event", f"{FAULTS}::test_a_client_that_takes_the_end_of_a_stream_for_the_end_of_the_turn_is_caught"),
    ("A broken turn is looked up", f"{STREAM}::test_a_stream_that_ends_without_stop_is_finished_from_the_session"),
    ("a session that was resumed by id is read once", f"{BASELINE}::test_the_history_is_read_once_and_brings_the_indexes_so_nothing_else_goes_before_a_post"),
    ("No text twice, none lost", "tests/faults/test_offsets.py::test_a_turn_of_200_events_cut_at_each_of_its_bytes_is_whole_and_shown_once"),
    ("the stream ended with `stop` |", f"{STREAM}::test_events_come_as_they_are_sent_and_end_with_the_stop"),
    ("ended with `stop`, `is_error`", f"{STREAM}::test_a_stop_with_an_error_is_given_and_then_raised_with_the_turn"),
    ("refused: 401, 403, 404, 422", f"{STREAM}::test_a_refused_turn_raises_when_the_stream_is_entered_and_is_posted_once"),
    ("refused: 409 | another turn, running", f"{BUSY}::test_the_error_says_which_turn_was_waited_for_and_how_long"),
    ("refused: 409 | no turn that runs", f"{BUSY}::test_a_refusal_of_a_session_in_which_nothing_runs_is_raised_at_once"),
    ("refused: 429", f"{STREAM}::test_a_turn_refused_for_long_is_left_to_the_caller"),
    ("no connection | | `APIConnectionError`", f"{STREAM}::test_a_turn_to_a_service_that_is_not_there_was_not_sent"),
    ("the prompt and its end | the turn, whole", f"{STREAM}::test_a_stalled_turn_that_has_ended_meanwhile_is_given_whole"),
    ("the prompt, running | a wait, then the turn", f"{STREAM}::test_what_a_running_turn_has_meanwhile_is_shown_while_it_runs"),
    ("still running at the deadline | `TurnInterrupted`, or `TurnStalled`", f"{STREAM}::test_a_cut_turn_that_never_ends_is_interrupted_and_keeps_its_text"),
    ("a 5xx | no such prompt | `InternalServerError`", f"{STREAM}::test_a_turn_that_the_service_failed_and_does_not_show_raises_its_error"),
    ("look first, if a gateway said it", f"{STREAM}::test_a_gateway_that_lost_its_upstream_is_waited_out_for_the_turn_behind_it"),
    ("or it cannot be read | `TurnOutcomeUnknown`", f"{STREAM}::test_a_lost_answer_whose_session_cannot_be_read_back_is_an_unknown_outcome"),
    ("an event came that is no JSON", f"{STREAM}::test_an_event_that_cannot_be_read_is_a_protocol_error_if_the_session_shows_no_end"),
    ("an answer is of another session", f"{BASELINE}::test_an_answer_of_another_session_is_an_error_and_never_taken_over"),
    ("Every `TurnError` has `turn`", f"{EVIDENCE}::test_the_answer_that_was_streamed_is_on_the_error_of_an_event_that_cannot_be_read"),
    ("closes the socket; it does not stop the agent", f"{STREAM}::test_leaving_the_block_early_closes_the_socket"),
    ("cancellation or Ctrl-C", "tests/endings/test_processes.py::test_ctrl_c_closes_the_socket_keeps_the_turn_so_far_and_leaves_a_client_that_works"),
    ("sent again when the earlier turn has ended", f"{BUSY}::test_the_turn_after_one_that_was_left_waits_for_its_end_and_is_sent_again"),
    ("`wait_if_busy=False` raises the `ConflictError` at once", f"{BUSY}::test_a_caller_who_does_not_want_to_wait_is_told_at_once"),
    ("while a stream is being opened closes its socket as well", f"{BUSY}::test_closing_a_stream_while_it_is_opened_reaches_the_service"),
    ("count its turns together", f"{STREAM}::test_all_holders_of_a_session_count_its_turns_together"),
    ("for its last 1,000 sessions", f"{BASELINE}::test_a_client_keeps_the_counts_of_its_last_sessions"),
    ("a new turn is told from an older one of the same words", f"{BASELINE}::test_an_answer_that_never_came_is_told_from_an_older_one_in_a_session_nobody_counted"),
    ("leave the read out", f"{BASELINE}::test_without_a_baseline_nothing_is_read_and_the_outcome_of_a_lost_answer_is_unknown"),
    ("and so does `recovery=0`", f"{BASELINE}::test_a_client_that_looks_nothing_up_counts_nothing"),
    ("a history that cannot be read leaves the session uncounted", f"{BASELINE}::test_a_history_that_cannot_be_read_is_asked_for_once_and_its_session_can_be_asked"),
    ("In a session that is not counted", f"{STREAM}::test_the_same_words_answered_earlier_are_not_given_for_this_turns_answer"),
    ("the head of an answer says nothing", f"{EVIDENCE}::test_the_head_of_an_answer_is_no_evidence_that_the_prompt_landed"),
    ("looked for during the whole of `timeouts.recovery`", f"{STREAM}::test_a_turn_that_is_never_shown_is_not_looked_for_without_end"),
    ("answered 500 or 503 is believed after three seconds", f"{STREAM}::test_a_turn_that_the_service_failed_and_does_not_show_raises_its_error"),
    ("the count is uncertain", "tests/session/test_turn_count.py::test_a_prompt_of_which_nobody_knows_leaves_the_count_in_doubt_until_the_session_shows_it"),
    ("from many threads and event loops", "tests/endings/test_loops.py::test_one_client_serves_many_threads_and_each_has_its_own_answer"),
    ("reading it in another is a `ConfigurationError`", "tests/endings/test_loops.py::test_a_stream_that_is_read_in_another_loop_says_so_and_is_closed"),
    ("After a fork, the child opens connections of its own", "tests/endings/test_connections.py::test_in_a_forked_process_a_stream_is_neither_read_nor_shut_down"),
    ("closes its socket silently", "tests/endings/test_processes.py::test_a_process_that_ends_with_an_open_stream_ends_at_once_and_says_nothing"),
    ("Deadlines also hold on HTTP/2", "tests/http/test_routes.py::test_a_service_that_falls_silent_ends_the_turn_at_its_deadline"),
    ("a deadline is noticed at the next bytes", f"{STREAM}::test_a_transport_without_a_socket_keeps_the_deadlines_at_the_next_bytes"),
]  # fmt: skip
