"""The tables of `msgstore.db` that matter for its bytes: names, columns and indexes are those of WhatsApp, of 2022.

Tables that stay empty on most phones are left out. `message_edit_info` came in 2023.
"""

from __future__ import annotations

TABLES = {
    "props": "_id integer primary key autoincrement, key text unique, value text",
    "jid": """_id integer primary key autoincrement, user text not null, server text not null, agent integer,
        device integer, type integer, raw_string text""",
    "chat": """_id integer primary key autoincrement, jid_row_id integer unique, hidden integer, subject text,
        created_timestamp integer, display_message_row_id integer, last_message_row_id integer,
        last_read_message_row_id integer, last_read_receipt_sent_message_row_id integer,
        last_important_message_row_id integer, archived integer, sort_timestamp integer, mod_tag integer, gen real,
        spam_detection integer, unseen_earliest_message_received_time integer, unseen_message_count integer,
        unseen_missed_calls_count integer, unseen_row_count integer, plaintext_disabled integer,
        vcard_ui_dismissed integer, change_number_notified_message_row_id integer, show_group_description integer,
        ephemeral_expiration integer, last_read_ephemeral_message_row_id integer,
        ephemeral_setting_timestamp integer, ephemeral_disappearing_messages_initiator integer,
        unseen_important_message_count integer not null default 0, group_type integer not null default 0,
        last_message_reaction_row_id integer, last_seen_message_reaction_row_id integer,
        unseen_message_reaction_count integer, growth_lock_level integer, growth_lock_expiration_ts integer,
        last_read_message_sort_id integer, display_message_sort_id integer, last_message_sort_id integer""",
    "message": """_id integer primary key autoincrement, chat_row_id integer not null, from_me integer not null,
        key_id text not null, sender_jid_row_id integer, status integer, broadcast integer, recipient_count integer,
        participant_hash text, origination_flags integer, origin integer, timestamp integer,
        received_timestamp integer, receipt_server_timestamp integer, message_type integer, text_data text,
        starred integer, lookup_tables integer, message_add_on_flags integer, sort_id integer not null default 0""",
    "message_media": """message_row_id integer primary key, chat_row_id integer, autotransfer_retry_enabled integer,
        multicast_id text, media_job_uuid text, transferred integer, transcoded integer, file_path text,
        file_size integer, suspicious_content integer, trim_from integer, trim_to integer, face_x integer,
        face_y integer, media_key blob, media_key_timestamp integer, width integer, height integer,
        has_streaming_sidecar integer, gif_attribution integer, thumbnail_height_width_ratio real, direct_path text,
        first_scan_sidecar blob, first_scan_length integer, message_url text, mime_type text, file_length integer,
        media_name text, file_hash text, media_duration integer, page_count integer, enc_file_hash text,
        partial_media_hash text, partial_media_enc_hash text, is_animated_sticker integer, original_file_hash text,
        mute_video integer default 0""",
    "message_thumbnail": "message_row_id integer primary key, thumbnail blob",
    "message_text": """message_row_id integer primary key, description text, page_title text, url text,
        font_style integer, text_color integer, background_color integer, preview_type integer,
        invite_link_group_type integer not null default 0""",
    "message_link": """_id integer primary key autoincrement, chat_row_id integer, message_row_id integer,
        link_index integer""",
    "message_quoted": """message_row_id integer primary key autoincrement, chat_row_id integer not null,
        parent_message_chat_row_id integer not null, from_me integer not null, sender_jid_row_id integer,
        key_id text not null, timestamp integer, message_type integer, origin integer, text_data text,
        payment_transaction_id text, lookup_tables integer""",
    "message_mentions": "_id integer primary key autoincrement, message_row_id integer, jid_row_id integer",
    "message_forwarded": "message_row_id integer primary key, forward_score integer",
    "message_revoked": """message_row_id integer primary key, revoked_key_id text not null,
        admin_jid_row_id integer""",
    "message_edit_info": """message_row_id integer primary key, original_key_id text not null,
        edited_timestamp integer, sender_timestamp integer""",
    "message_system": "message_row_id integer primary key, action_type integer not null",
    "message_add_on": """_id integer primary key autoincrement, chat_row_id integer, from_me integer,
        key_id text not null, sender_jid_row_id integer, parent_message_row_id integer, timestamp integer,
        status integer, message_add_on_type integer""",
    "message_add_on_reaction": """message_add_on_row_id integer primary key, reaction text,
        sender_timestamp integer""",
    "audio_data": "message_row_id integer primary key, waveform blob",
    "media_refs": "_id integer primary key autoincrement, path text unique, ref_count integer",
    "receipt_user": """_id integer primary key autoincrement, message_row_id integer not null,
        receipt_user_jid_row_id integer not null, receipt_timestamp integer, read_timestamp integer,
        played_timestamp integer""",
    "receipt_device": """_id integer primary key autoincrement, message_row_id integer not null,
        receipt_device_jid_row_id integer not null, receipt_device_timestamp integer,
        primary_device_version integer""",
    "group_participant_user": """_id integer primary key autoincrement, group_jid_row_id integer not null,
        user_jid_row_id integer not null, rank integer, pending integer""",
    "call_log": """_id integer primary key autoincrement, jid_row_id integer, from_me integer, call_id text,
        transaction_id integer, timestamp integer, video_call integer, duration integer, call_result integer,
        bytes_transferred integer, group_jid_row_id integer not null default 0, is_joinable_group_call integer,
        call_creator_device_jid_row_id integer not null default 0, call_random_id text""",
}

INDEXES = {
    "jid_key_new_index": "unique jid(user, server, agent, device, type)",
    "jid_raw_string_index": "unique jid(raw_string)",
    "chat_group_type_index": "chat(group_type)",
    "message_chat_id_index": "message(chat_row_id, _id)",
    "message_chat_sort_id_index": "message(chat_row_id, sort_id)",
    "message_key_index": "unique message(chat_row_id, from_me, key_id, sender_jid_row_id)",
    "message_sort_id_index": "message(sort_id)",
    "message_starred_index": "message(starred)",
    "message_type_chat_index": "message(chat_row_id, message_type)",
    "message_type_index": "message(message_type)",
    "message_media_chat_index": "message_media(chat_row_id)",
    "message_media_hash_index": "message_media(file_hash)",
    "message_media_original_file_hash_index": "message_media(original_file_hash)",
    "message_link_index": "unique message_link(message_row_id, link_index)",
    "mentions_index": "unique message_mentions(message_row_id, jid_row_id)",
    "message_add_on_key_index": "unique message_add_on(chat_row_id, from_me, key_id, sender_jid_row_id)",
    "message_add_on_parent_message_row_id_index": "message_add_on(parent_message_row_id)",
    "message_add_on_chat_status_index": "message_add_on(chat_row_id, status)",
    "message_add_on_status_index": "message_add_on(status)",
    "receipt_user_index": "unique receipt_user(message_row_id, receipt_user_jid_row_id)",
    "receipt_device_index": "unique receipt_device(message_row_id, receipt_device_jid_row_id)",
    "receipt_device_table_device_index": "receipt_device(receipt_device_jid_row_id)",
    "group_participant_user_index": "unique group_participant_user(group_jid_row_id, user_jid_row_id)",
    "call_log_key_index": "unique call_log(jid_row_id, from_me, call_id, transaction_id)",
}

SEARCH = "create virtual table message_ftsv2 using fts4(content, fts_jid, fts_namespace)"


def statements() -> list[str]:
    """Return the statements that make an empty database."""
    made = [f"create table {name} ({' '.join(columns.split())})" for name, columns in TABLES.items()]
    for name, what in INDEXES.items():
        unique, _, on = what.rpartition("unique ")
        made.append(f"create {unique}{'unique ' if 'unique ' in what else ''}index {name} on {on}")
    return [*made, SEARCH]
