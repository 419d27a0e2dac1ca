"""What WhatsApp writes into an exported chat in its languages: a table, and nothing that thinks.

Words are compared without case, and without the marks of direction. Where a language has changed its words, all stand.
"""

from __future__ import annotations

from typing import Final

from keepstone.messages.model import MessageKind

MEDIA_OMITTED: Final[dict[str, tuple[str, ...]]] = {
    "af": ("media weggelaat",),
    "ar": ("تم استبعاد الوسائط",),
    "az": ("media buraxıldı", "Media çıxarılmışdır"),
    "bg": ("Без файл",),
    "bn": ("মিডিয়া বাদ দেওয়া হয়েছে", "মিডিয়া বাদ দেওয়া হয়েছে"),
    "ca": ("fitxers multimèdia omesos", "Mitjans omesos"),
    "cs": ("média vynechány", "Média vynechána"),
    "da": ("medier udeladt", "Mediefil udeladt"),
    "de": ("Medien ausgeschlossen", "Medien weggelassen"),
    "el": ("αρχείο παραλήφθηκε", "Εξαίρεση πολυμέσων"),
    "en": ("Media omitted",),
    "es": ("multimedia omitido", "Multimedia omitido", "Archivo omitido"),
    "et": ("meedia välja jäetud", "Meedia ära jäetud"),
    "fa": ("رسانه حذف شد", "پيوست نما/آهنگ حذف شد"),
    "fi": ("media jätettiin pois", "Media jätetty pois"),
    "fr": ("médias omis", "Médias omis", "Fichier omis"),
    "gu": ("મિડિયા છોડી મૂકાયું", "મીડીયા અવગણવામાં આવ્યા"),
    "he": ("המדיה לא נכללה", "מדיה הושמטה"),
    "hi": ("मीडिया के बिना",),
    "hr": ("medijski zapis izostavljen",),
    "hu": ("média elhagyva", "Hiányzó médiafájl"),
    "id": ("Media tidak disertakan",),
    "it": ("media omessi", "Media omesso"),
    "ja": ("メディアなし", "メディアは含まれていません"),
    "kk": ("файлдар қосылмаған", "Файл қосылған жоқ"),
    "kn": ("ಮಾಧ್ಯಮ ಕೈಬಿಡಲಾಗಿದೆ",),
    "ko": ("미디어 파일 제외됨", "미디어 파일을 생략한 대화내용"),
    "lo": ("ບໍ່ລວມມີເດຍ",),
    "lt": ("medija praleista", "Praleistas medijos turinys"),
    "lv": ("nav iekļauta multivide", "Bez multivides"),
    "mk": ("без фајлови", "Без фајл"),
    "ml": ("മീഡിയ ഒഴിവാക്കി",),
    "mr": ("मीडिया वगळण्यात आला", "मीडिया वगळले"),
    "ms": ("media dikecualikan", "Media disingkirkan"),
    "nb": ("media utelatt", "Uten vedlegg"),
    "nl": ("Media weggelaten",),
    "pa": ("ਮੀਡੀਆ ਛੱਡਿਆ", "ਮੀਡੀਆ ਛਡਿਆ ਗਿਆ"),
    "pl": ("pominięto multimedia", "pliki pominięto"),
    "pt": ("ficheiro não revelado",),
    "pt-BR": ("Mídia omitida", "Arquivo de mídia oculto"),
    "ro": ("conținut media omis",),
    "ru": ("без медиафайлов", "Файл пропущен"),
    "sk": ("Médiá vynechané",),
    "sl": ("datoteke izpuščene", "Medij izpuščen"),
    "sq": ("media u hoq", "Media hequr"),
    "sr": ("медији су изостављени",),
    "sv": ("media utelämnat", "Media har utelämnats"),
    "sw": ("media hazijajumuishwa", "Media imerukwa"),
    "ta": ("கோப்புகள் விடப்பட்டன", "ஊடகங்கள் நீக்கப்பட்டது"),
    "te": ("మీడియా విస్మరించబడింది", "మాధ్యమం విస్మరించబడింది"),
    "th": ("ไฟล์สื่อถูกลบ", "สื่อถูกลบ"),
    "tl": ("inalis ang media", "Walang kalakip na media"),
    "tr": ("medya dahil edilmedi", "Medya atlanmış"),
    "uk": ("медіа пропущено", "Без медіафайлів"),
    "ur": ("میڈیا چھوڑ دیا گیا", "میڈیا ہٹا دیا گیا"),
    "uz": ("fayl o‘tkazib yuborildi",),
    "vi": ("bỏ qua tệp phương tiện", "Bỏ qua Media"),
    "zh-CN": ("省略多媒体文件", "媒体文件已省略"),
    "zh-TW": ("忽略多媒體檔", "媒體已略去"),
}

KIND_OMITTED: Final[dict[MessageKind, tuple[str, ...]]] = {
    "image": ("view once photo omitted", "image omitted",
              "imagen omitida", "image absente", "Bild weggelassen", "immagine omessa",
              "imagem oculta",
              "imagem ocultada", "afbeelding weggelaten", "изображение отсутствует", "görüntü dahil edilmedi",
              "画像は含まれていません", "gambar tidak disertakan", "圖片已略去"),
    "voice": ("voice message omitted", "view once voice message omitted"),
    "video": ("video note omitted", "view once video omitted", "video omitted",
              "video omitido", "vidéo absente", "Video weggelassen", "video omesso", "vídeo oculto",
              "vídeo omitido", "video weggelaten", "видео отсутствует", "video dahil edilmedi",
              "ビデオは含まれていません", "video tidak disertakan", "影片已略去"),
    "audio": ("audio omitted", "audio omitido", "audio omis", "Audio weggelassen", "audio omesso", "áudio oculto",
              "áudio ocultado", "audio weggelaten", "аудиофайл отсутствует", "ses dahil edilmedi",
              "音声は含まれていません", "audio tidak disertakan", "音訊已略去"),
    "document": ("document omitted", "documento omitido", "document manquant", "Dokument weggelassen",
                 "documento omesso", "documento oculto", "document weggelaten", "документ отсутствует",
                 "belge dahil edilmedi", "dokumen tidak disertakan"),
    "animation": ("GIF omitted", "GIF omitido", "GIF absent", "GIF weggelassen", "GIF omessa", "GIF oculto",
                  "GIF weggelaten", "GIF отсутствует", "GIF dahil edilmedi"),
    "sticker": ("sticker omitted", "sticker omitido", "sticker omis", "Sticker weggelassen", "sticker omesso",
                "figurinha omitida", "figurinha oculta", "sticker weggelaten", "стикер отсутствует",
                "çıkartma dahil edilmedi", "stiker tidak disertakan", "貼圖已略去"),
    "contact": ("Contact card omitted", "Tarjeta de contacto omitida", "Fiche contact omise",
                "Kontaktkarte ausgelassen",
                "Scheda contatto omessa", "Cartão do contato omitido"),
}  # fmt: skip

ATTACHED: Final = (
    "file attached", "archivo adjunto", "Datei angehängt", "fichier joint", "file allegato", "arquivo anexado",
    "ficheiro anexado", "bestand bijgevoegd", "файл добавлен", "dosya ekli", "bifogad fil", "vedlagt fil",
    "fil vedhæftet", "fil vedlagt", "plik dołączony", "soubor byl přiložen", "tiedosto liitetty", "fișier atașat",
    "fájl csatolva", "αρχείο επισυνάφθηκε", "файл прикріплено", "файл додано", "ملف مرفق", "הקובץ מצורף",
    "फ़ाइल संलग्न है", "ファイル添付", "파일 첨부됨", "文件附件", "附件檔案", "檔案已附加", "file terlampir",
    "fail dilampirkan", "tệp đính kèm", "ไฟล์แนบ", "fitxer adjunt", "datoteka priložena", "súbor priložený",
)  # fmt: skip
"""What stands in brackets behind a file's name."""

DELETED: Final = (
    "This message was deleted", "You deleted this message", "Se eliminó este mensaje", "Eliminaste este mensaje",
    "Este mensaje fue eliminado", "Diese Nachricht wurde gelöscht", "Du hast diese Nachricht gelöscht",
    "Diese Nachricht wurde gelöscht.", "Ce message a été supprimé", "Vous avez supprimé ce message",
    "Questo messaggio è stato eliminato", "Hai eliminato questo messaggio", "Mensagem apagada",
    "Essa mensagem foi apagada",
    "Você apagou esta mensagem", "Esta mensagem foi apagada", "Você apagou essa mensagem",
    "Apagou esta mensagem", "Dit bericht is verwijderd",
    "U hebt dit bericht verwijderd", "Je hebt dit bericht verwijderd", "Данное сообщение удалено", "Сообщение удалено",
    "Вы удалили данное сообщение", "Bu mesaj silindi", "Bu mesajı sildiniz", "Ta wiadomość została usunięta",
    "Usunięto tę wiadomość", "Wiadomość została usunięta", "Detta meddelande raderades", "Du raderade detta meddelande",
    "Denne beskeden ble slettet", "Denne meldingen ble slettet", "Du slettet denne meldingen",
    "Denne besked blev slettet", "Du slettede denne besked", "Tämä viesti poistettiin", "Poistit tämän viestin",
    "Tato zpráva byla odstraněna", "Táto správa bola odstránená", "Ezt az üzenetet törölték",
    "Acest mesaj a fost șters",
    "Αυτό το μήνυμα διαγράφηκε", "Це повідомлення було видалено", "Ви видалили це повідомлення",
    "تم حذف هذه الرسالة", "حذفت هذه الرسالة", "הודעה זו נמחקה", "מחקת הודעה זו", "यह मैसेज मिटाया गया",
    "यह संदेश हटा दिया गया", "このメッセージは削除されました", "このメッセージを削除しました", "삭제된 메시지입니다",
    "此消息已被删除", "您已删除此消息", "此訊息已刪除", "您已刪除此訊息", "Pesan ini telah dihapus",
    "Anda telah menghapus pesan ini", "Mesej ini telah dipadam", "Tin nhắn này đã bị xóa", "ข้อความนี้ถูกลบแล้ว",
    "S'ha suprimit aquest missatge", "Ova je poruka izbrisana", "Ova poruka je izbrisana",
)  # fmt: skip

DELETED_BY: Final = ("This message was deleted by admin", "Diese Nachricht wurde von Admin")
"""How it begins where it names who did."""

EDITED: Final = (
    "This message was edited", "Se editó este mensaje.", "Se editó este mensaje", "Diese Nachricht wurde bearbeitet.",
    "Diese Nachricht wurde bearbeitet", "Ce message a été modifié", "Questo messaggio è stato modificato",
    "Mensagem editada", "Essa mensagem foi editada", "Dit bericht is bewerkt", "Данное сообщение изменено",
    "Bu mesaj düzenlendi",
)  # fmt: skip
"""What stands in angle brackets at the end of an edited text."""

MORNING: Final = (
    "am", "a", "vorm", "πμ", "午前", "上午", "早上", "凌晨", "清晨", "半夜", "오전", "ص", "قظ", "قبلازظهر", "صبح", "sa",
    "öö", "de", "पूर्वाह्न", "मपू", "fm", "dop", "pg", "vm", "eparadites", "paradites", "priešpiet", "priekšpusdienā",
    "ap",
    "ก่อนเที่ยง", "முற்பகல்", "ಪೂರ್ವಾಹ್ನ", "ਪੂਦੁ", "тд", "проб", "дп", "претпл", "преподне", "prepodne", "prijepodne",
    "לפנה״צ", "ກ່ອນທ່ຽງ", "fh", "rn", "asubuhi", "ভোর", "সকাল", "पहाटे", "सकाळी", "सुबह",
)  # fmt: skip
AFTERNOON: Final = (
    "pm", "p", "nachm", "μμ", "午後", "下午", "晚上", "中午", "傍晚", "오후", "م", "بظ", "بعدازظهر", "غروب", "عصر",
    "ch", "ös", "du", "अपराह्न", "मउ", "em", "odp", "ptg", "nm", "epasdites", "pasdites", "popiet", "pēcpusdienā",
    "ip",
    "หลังเที่ยง", "பிற்பகல்", "ಅಪರಾಹ್ನ", "ਬਾਦੁ", "тк", "слоб", "пп", "попл", "поподне", "popodne", "poslijepodne", "pop",
    "אחה״צ", "ຫຼັງທ່ຽງ", "eh", "in", "jioni", "mchana", "দুপুর", "বিকাল", "সন্ধ্যা", "दुपारी", "सायंकाळी", "शाम",
    "दोपहर",
)  # fmt: skip
"""Halves of the day, without dots and spaces. Of languages with more parts of a day, those that are clear."""
YEARS: Final = (r"г\.", r"р\.", "BE", "AD", "CE", r"พ\.ศ\.", "年")
"""What may stand behind a year."""
AT: Final = (
    "klo", r"kl\.", "klockan", "às", "à", "um", "om", "pukul", "lúc", "ob", "la ora", "la", "o", "в", "о", "у", "at",
    "alle", "a las", "a la", "saat", "u", "kell",
)  # fmt: skip
"""What may stand between a date and a time."""
CLOCK: Final = (r"ч\.", r"น\.", "Uhr", "h", "uur")
"""What may stand behind a time."""

POLLS: Final = ("POLL:", "ENCUESTA:", "UMFRAGE:", "SONDAGE :", "SONDAGE:", "SONDAGGIO:", "ENQUETE:", "PEILING:")
OPTIONS: Final = ("OPTION", "OPCIÓN", "OPZIONE", "OPÇÃO", "OPTIE")

TITLES: Final = (
    "WhatsApp Chat - ", "WhatsApp Chat with ", "WhatsApp Chat mit ", "Chat de WhatsApp con ", "Chat WhatsApp con ",
    "Discussion WhatsApp avec ", "Conversa do WhatsApp com ", "Conversa no WhatsApp com ", "Чат WhatsApp с ",
    "WhatsApp-chat met ", "WhatsApp Chat met ", "WhatsApp sohbeti - ", "Czat WhatsApp z ", "WhatsApp-chatt med ",
    "WhatsApp-chat med ", "WhatsApp-keskustelu käyttäjän ", "Chat WhatsApp dengan ", "Chat de WhatsApp amb ",
)  # fmt: skip
"""What a file's name says before the chat's."""
